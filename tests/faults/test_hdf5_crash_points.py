"""A crash after every single write to an HDF5 file: what was not yet synced is on the disk, lost, or torn."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import pytest

import storage.formats.hdf5.append
from storage.formats.hdf5.append import Column, TableWriter
from storage.formats.hdf5.table import Table
from tests.faults.disk import Call, Disk, after

# Chunks so small, and commits so many, that every kind of node and block begins, fills up and ends in one test.
COLUMNS = (Column("blob", "uint8", (5,), rows=1), Column("number", "int64", rows=4), Column("text", "text", rows=4))
NAMES = [column.name for column in COLUMNS]
ROWS_A_SESSION = 70


def row(n: int) -> dict[str, bytes]:
    return {"blob": bytes([n % 256] * 5), "number": n.to_bytes(8, "little"), "text": b"row %d" % n if n % 3 else b""}


def rows_in(path: Path) -> int:
    """The number of rows, each of which must be what was appended."""
    table = Table(path)
    rows = table.dataset("number").dims[0]
    assert {table.dataset(name).dims[0] for name in NAMES} == {rows}
    for n in range(rows):
        assert row(n) == {
            "blob": table.chunk("blob", n),
            "number": table.value("number", n),
            "text": table.text("text", n),
        }
    table.close()
    return rows


def rows_for_others(path: Path) -> int:
    """The same, as the HDF5 library sees it."""
    with h5py.File(path) as file:
        there = zip(*(file[name][:] for name in NAMES), strict=True)
        for n, (blob, number, text) in enumerate(there):
            assert row(n) == {"blob": bytes(blob), "number": int(number).to_bytes(8, "little"), "text": text}
        return len(file["number"])


@pytest.mark.parametrize("seed", range(2))
def test_every_crash_leaves_all_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    path, crashed = tmp_path / "table.h5", tmp_path / "crashed.h5"
    begin = TableWriter(path, NAMES)
    begin.add_columns(COLUMNS)
    begin.append(row(0))
    begin.commit()
    begin.close()
    image = path.read_bytes()
    disk = Disk(path.stat().st_ino)
    monkeypatch.setattr(storage.formats.hdf5.append, "os", disk)
    acknowledged = {0: 1}  # after how many calls, how many rows
    for _ in range(2):
        writer = TableWriter(path, NAMES)
        for n in range(writer.rows, writer.rows + ROWS_A_SESSION):
            writer.append(row(n))
            if rng.random() < 0.3:
                rows = writer.commit()
                acknowledged[len(disk.calls)] = rows
        writer.close()
    monkeypatch.undo()

    synced, unsynced, promised, seen = image, list[Call](), 1, set[int]()
    for done, call in enumerate(disk.calls, 1):
        unsynced.append(call)
        if call.kind == "sync":
            synced, unsynced = after(synced, unsynced, lambda: True), []
        promised = acknowledged.get(done, promised)
        arrives = rng.choice((lambda: True, lambda: False, lambda: rng.random() < 0.5))
        crashed.write_bytes(after(synced, unsynced, arrives))
        rows = rows_in(crashed)
        assert rows >= promised, f"after call {done}"
        seen.add(rows)
        if done % 20 == 0:
            assert rows_for_others(crashed) == rows
            again = TableWriter(crashed, NAMES)  # the next start
            again.append(row(rows))
            assert again.commit() == rows + 1
            again.close()
            assert rows_in(crashed) == rows_for_others(crashed) == rows + 1
    assert path.read_bytes() == after(synced, unsynced, lambda: True)  # the notes were complete
    print(f"{len(disk.calls)} crashes, {len(seen)} states found, {promised} rows acknowledged, none lost")
