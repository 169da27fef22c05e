"""A recording opened for labelling: the frames to show, their names and their labels.

Of a data directory these are the frames without a class, or all to relabel; of another recording all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from classify.session import FIRST_FOREIGN, NONE
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.frame import Frame
from storage.labels.classes import DEFAULT
from storage.labels.current import is_about_sorted
from storage.labels.journal import Classes, Entry
from storage.names import check_class_name
from storage.recording import Recording


@dataclass(frozen=True, slots=True)
class Opened:
    """The frames to label.

    Attributes
    ----------
    recording : Recording
    classes : Classes
        What the labels mean.
    indices : sequence of int
        Their index in the recording, by position.
    names : list of str
        What the journal calls them.
    labels : bytes
        The labels they come with.
    foreign : list of str
        Names of the classes that have no key; their labels are `FIRST_FOREIGN` and up.
    sorted : Counter
        Frames that are in class directories and not shown, by directory.
    directory : stat result or None
        The identity of a data directory, whose frames will move; None for a file. Later, another may have its name.
    """

    recording: Recording
    classes: Classes
    indices: Sequence[int]
    names: list[str]
    labels: bytes
    foreign: list[str] = field(default_factory=list)
    sorted: Counter[str] = field(default_factory=Counter)
    directory: os.stat_result | None = None

    def read(self, position: int) -> Frame:
        """Return a frame. Raises `StorageError` or OSError if it is unreadable."""
        return self.recording.read(self.indices[position])

    def elapsed_ns(self) -> Iterator[int]:
        """Yield when each frame is shown (`Recording.shown_ns`); nothing if the frames have no times.

        One by one, as each file of a large data directory is opened for it.
        """
        position = 0
        for index, shown in enumerate(_shown_ns(self.recording)):
            if position < len(self.indices) and self.indices[position] == index:
                position += 1
                yield shown

    def class_of(self, label: int) -> str | None:
        """Return the class of a label as the recording names it: its directory, in a data directory."""
        if label == NONE:
            return None
        return self.classes.directories[label] if label < FIRST_FOREIGN else self.foreign[label - FIRST_FOREIGN]


def open_frames(recording: Recording, classes: Classes, entries: Sequence[Entry], *, relabel: bool) -> Opened:
    """Choose the frames to show.

    Frames in class directories are shown with `relabel`, and also if the journal has labels for some of them: these
    were given with `relabel`, and are not applied yet.
    """
    given = recording.labels
    names = recording.names
    directory: os.stat_result | None = None
    if isinstance(recording, FramesAreFiles):
        directory = recording.path.stat()
        relabel = relabel or (any(given) and any(map(is_about_sorted, entries)))
        indices: Sequence[int] = range(len(names))
        if not relabel:
            indices = [index for index, label in enumerate(given) if label is None]
            names = [names[index] for index in indices]
        left_out: Counter[str] = Counter() if relabel else Counter(label for label in given if label is not None)
        shown = given if relabel else [None] * len(indices)
    else:
        indices, left_out, shown = range(len(recording)), Counter(), given
    numbers = {name: number for number, name in enumerate(classes.directories)}
    foreign = sorted({label for label in shown if label is not None and label not in numbers})
    if FIRST_FOREIGN + len(foreign) > NONE:
        raise StorageError(f"{recording.path} has {len(foreign)} classes without a key, which are too many")
    numbers |= {name: FIRST_FOREIGN + number for number, name in enumerate(foreign)}
    labels = bytes(NONE if label is None else numbers[label] for label in shown)
    return Opened(recording, classes, indices, names, labels, foreign, left_out, directory)


def classes_of_file(recording: Recording, most: int) -> Classes:
    """Return the classes of the labels in a file; the default ones if there are none, or keys can't have them."""
    if isinstance(recording, FramesAreFiles):
        return DEFAULT
    found = recording.class_names
    if set(found) <= set(DEFAULT.directories) or len(found) > most:
        return DEFAULT
    try:
        for name in found:
            check_class_name(name)
    except StorageError:
        return DEFAULT
    return Classes(tuple(found), tuple(found))


def _shown_ns(recording: Recording) -> Iterator[int]:
    if not isinstance(recording, FramesAreFiles):
        yield from recording.shown_ns if recording.has_times else ()
        return
    passed, before = 0, None
    for index in range(len(recording.names)):
        time = recording.head(index).timestamp_ns
        if time is None and before is None:
            return
        passed += max(0, time - before) if time is not None and before is not None else 0
        before = before if time is None else time
        yield passed
