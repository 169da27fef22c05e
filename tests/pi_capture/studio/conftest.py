"""A studio with a recording of forty frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pi_capture
from tests.support.studio import Running

FRAMES = 40


@pytest.fixture(scope="session")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, not to be changed."""
    path = tmp_path_factory.mktemp("forty") / "day1"
    pi_capture.record(path, FRAMES / 30 - 0.01, camera="demo", fps=30, jitter=False)
    return path


@pytest.fixture
def studio(tmp_path: Path, forty: Path) -> Iterator[Running]:
    import shutil

    shutil.copytree(forty, tmp_path / "recordings" / "day1")
    with Running(tmp_path) as running:
        yield running
