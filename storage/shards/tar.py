"""WebDataset shards: tar files that a loader reads from beginning to end, with the files of a sample one after another.

A sample is ``KEY.png`` or ``KEY.jpg``, ``KEY.cls`` (the class's number, in digits) and ``KEY.json`` (what
`storage.shards.samples.facts_of` gives, and the camera's metadata). A shard holds whole recordings: no frame on one
side is a near copy of one on the other.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.batch.contract import Result, Step
from storage.durable.files import appearing
from storage.errors import StorageError
from storage.formats.table import open_recording
from storage.labels.classes import names_of_labels
from storage.names import printable
from storage.recording import Recording
from storage.shards.choose import TRAIN, VAL, VAL_SHARE, By, choose_side
from storage.shards.samples import GROUP_BYTES, Sample, as_json, check_names, samples

FULL_BYTES = 256_000_000  # from there on, no further recording goes into a shard
MOST_BYTES = 1_000_000_000  # a larger recording goes into several


def write_shards(
    recordings: Sequence[Path],
    out: Path,
    *,
    by: By = "recording",
    val_share: float = VAL_SHARE,
    class_names: Sequence[str] | None = None,
    jpg_quality: int | None = None,
    threads: int = 1,
) -> Result:
    """Write recordings into a directory as ``train-000000.tar`` … and ``val-000000.tar`` …: the same bytes each time.

    Frames without a class have no ``.cls``, and those that can't be read are left out and told.

    Parameters
    ----------
    recordings : sequence of path
        In the order in which they are written. Their paths become part of the keys.
    out : path
        A directory. Each file appears when it is whole.
    by, val_share
        Which recordings are held out: as for `storage.shards.choose.choose_side`.
    class_names : sequence of str, optional
        The classes, in the order of their numbers. By default a class without a name, whose label is a whole number
        such as the keys 0 to 9 give, has that number. Frames of other classes have no ``.cls``, which is told: a number
        that means something else in another recording would mislead.
    jpg_quality : int, optional
        As for `storage.shards.samples.samples`.
    threads : int

    Raises
    ------
    StorageError
        A recording can't be read, has a class that `class_names` lacks, or is of hosts on both sides; or a file of that
        name is there already.
    """
    check_names(recordings)
    told: list[str] = []
    unnumbered: dict[str, None] = {}  # classes, in the order in which they were met
    frames = 0
    with ExitStack() as stack:
        sides = {side: stack.enter_context(_Shards(out, side)) for side in (TRAIN, VAL)}
        for path in recordings:
            with open_recording(path) as recording:
                numbers = _class_numbers(path, recording, class_names)
                unnumbered |= dict.fromkeys(name for name in _class_names(recording) if name not in numbers)
                shards = sides[choose_side(recording, path, by, val_share)]
                for sample in samples(recording, path, told, jpg_quality=jpg_quality, threads=threads):
                    shards.add(sample, numbers.get(sample.facts["label"]))
                    frames += 1
                shards.end_recording()
    if unnumbered:
        names = ", ".join(map(printable, unnumbered))
        told.append(f"no .cls for {names}: .json has the names, and class_names numbers them")
    return Result(frames, tuple(told))


def _class_numbers(path: Path, recording: Recording, class_names: Sequence[str] | None) -> dict[str, int]:
    """The number of each class of a recording, by what it is called; classes without a number are missing."""
    called = _class_names(recording)
    if class_names is None:
        return {name: int(name) for name in called if re.fullmatch(r"0|[1-9][0-9]{0,8}", name)}
    if unknown := [name for name in called if name not in class_names]:
        raise StorageError(f"{path} has frames of class {unknown[0]!r}, which class_names lacks")
    return {name: number for number, name in enumerate(class_names)}


def _class_names(recording: Recording) -> list[str]:
    """What the classes of a recording are called."""
    called = names_of_labels(recording)
    return [called.get(label, label) for label in recording.class_names]


class _Shards:
    """The shards of one side, written one after another."""

    def __init__(self, out: Path, side: str) -> None:
        self._out, self._side, self._count = out, side, 0
        self._open = ExitStack()
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, sample: Sample, number: int | None) -> None:
        if self._tar is None or self._tar.offset >= MOST_BYTES:
            self._begin()
        wall_ns = sample.facts["wall_ns"] or 0
        members = {sample.suffix: sample.picture, "cls": None if number is None else str(number).encode()}
        for suffix, content in {**members, "json": as_json(sample.facts)}.items():
            if content is not None and self._tar is not None:
                member = tarfile.TarInfo(f"{sample.name}.{suffix}")
                member.size, member.mtime = len(content), max(0, wall_ns // 10**9)
                self._tar.addfile(member, BytesIO(content))

    def end_recording(self) -> None:
        if self._tar is not None and self._tar.offset >= FULL_BYTES:
            self._open.close()
            self._tar = None

    def _begin(self) -> None:
        self._open.close()
        path = self._open.enter_context(appearing(self._out / f"{self._side}-{self._count:06d}.tar"))
        tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (the stack closes it)
        self._tar = self._open.enter_context(tar)
        self._count += 1


SHARDS = Step("shards", write_shards, GROUP_BYTES)
SHARDS_BY_HOST = Step("shards-by-host", partial(write_shards, by="host"), GROUP_BYTES)
SHARDS_JPG = Step("shards-jpg", partial(write_shards, jpg_quality=95), GROUP_BYTES)
