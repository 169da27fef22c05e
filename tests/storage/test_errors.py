"""What libraries say about their failures, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import first_line


def test_the_line_says_what_failed(tmp_path: Path) -> None:
    missing = tmp_path / "graph.pb"
    with pytest.raises(FileNotFoundError) as not_there:
        missing.read_bytes()
    with pytest.raises(UnicodeDecodeError) as no_text:
        b"abc\xff".decode()
    assert first_line(not_there.value) == f"[Errno 2] No such file or directory: '{missing}'"
    assert "can't decode byte 0xff in position 3" in first_line(no_text.value)
    assert first_line(KeyError("no object of that name")) == "no object of that name"
    assert first_line(ValueError(" too large\nat line 3")) == "too large"
    assert first_line(MemoryError()) == "MemoryError"
