"""A studio with a recording of forty frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labelled import record
from tests.support.studio import Running

FRAMES = 40


@pytest.fixture(scope="session")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, not to be changed."""
    path = tmp_path_factory.mktemp("forty") / "day1"
    record(path, [None] * FRAMES, seconds=[number / 30 for number in range(FRAMES)], size=(128, 128))
    return path


@pytest.fixture
def studio(tmp_path: Path, forty: Path) -> Iterator[Running]:
    import shutil

    shutil.copytree(forty, tmp_path / "recordings" / "day1")
    with Running(tmp_path) as running:
        yield running
