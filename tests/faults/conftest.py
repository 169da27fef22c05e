"""Every fault test may record features, so the weights are there."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _weights(mobilenet: Path) -> None:
    pass
