"""A studio with a recording of forty frames."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.labelled import record
from tests.support.studio import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FRAMES = 40


@pytest.fixture(scope="module")
def chromium_of_module() -> Iterator[Browser]:
    from tests.pi_capture.studio.browser import chromium

    with chromium(f"--host-resolver-rules=MAP {socket.gethostname()}.local 127.0.0.1") as found:
        yield found


@pytest.fixture
def browser(chromium_of_module: Browser) -> Iterator[Browser]:
    """A browser whose pages are closed with the test: they would go on looking for their studio."""
    yield chromium_of_module
    for context in chromium_of_module.contexts:
        context.close()


@pytest.fixture(scope="session")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, not to be changed."""
    path = tmp_path_factory.mktemp("forty") / "day1"
    record(path, [None] * FRAMES, seconds=[number / 30 for number in range(FRAMES)], size=(128, 128))
    return path


@pytest.fixture
def studio(tmp_path: Path, forty: Path) -> Iterator[Running]:
    shutil.copytree(forty, tmp_path / "recordings" / "day1")
    with Running(tmp_path) as running:
        yield running
