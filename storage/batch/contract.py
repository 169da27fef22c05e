"""What a step of ``python -m storage batch`` is: a function from recordings to files, which knows no batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StorageError


class NotReadyError(StorageError):
    """This machine lacks something that the step needs. No recording is to blame: the whole run ends."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a step did with a piece of work.

    Attributes
    ----------
    frames : int
        How many frames were read.
    told : tuple of str
        What a person should know, a line each: what is damaged, or was left out. Warnings that a library of this
        project logs meanwhile are added.
    """

    frames: int
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and how recordings are dealt out to it.

    Attributes
    ----------
    name : str
        What the command line calls it, and its directory in OUT.
    process : callable
        Takes recordings and an empty directory, reads the one and writes files into the other, and does nothing else.
        The same recordings give the same bytes: no time of now, nothing at random. It runs in a process of its own,
        which a damaged file may kill. StorageError and OSError cost this piece of work; the message is told. Paths of
        recordings are relative, the same on each machine, and may be written into files. NotReadyError ends the run.
    group_bytes : int or None
        None: one recording a piece of work. Else whole recordings, in the order of their names, up to so many bytes;
        one recording alone may be larger. Recordings that `process` fails on when it has them alone are left out.
    with_features : callable or None
        In place of `process`, where the step `features` has done recordings: its third argument says where the features
        of which are. It makes what `process` makes. A run does such steps after all others.
    """

    name: str
    process: Callable[[Sequence[Path], Path], Result]
    group_bytes: int | None = None
    with_features: Callable[[Sequence[Path], Path, Mapping[Path, Path]], Result] | None = None
