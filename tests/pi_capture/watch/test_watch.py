"""``python -m pi_capture watch`` as a person or a program meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture import Recorder
from storage.labels.exchange import import_labels
from storage.learn.head import fit_head
from storage.learn.model import Model, save_model
from tests.pi_capture.test_cli import run
from tests.support.networks import COLOURS, plain, put_network
from tests.support.terminal import on_a_terminal

SECONDS = 30  # that anything may take here


def film(path: Path, *parts: tuple[str, int], fps: float = 10) -> Path:
    """A recording of pictures of one colour, so many frames of each."""
    with Recorder(path, fps=fps) as recorder:
        for colour, count in parts:
            for _ in range(count):
                recorder.write(plain(colour))
    return path
