"""A recording that is being labelled: its frames, its labels and their journal. It needs no window.

A window or a page calls the methods of `Work.session`, gives the event of each to `Work.keeper`, and syncs
`Work.journal` before the next frame shows. `classify.commit.save` is S; `classify.commit.take_back` undoes it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from classify.commit import finish
from classify.frames import Opened, classes_of_file, open_frames
from classify.keeper import Keeper
from classify.session import MOST_CLASSES, NONE, Session
from storage.errors import OptionError, StorageError
from storage.formats.png.directory import locate
from storage.formats.table import open_recording
from storage.labels.beside import journal_path
from storage.labels.classes import choose_classes, known_classes, renumbered
from storage.labels.history import replay
from storage.labels.journal import Classes, Entry, LabelJournal
from storage.labels.live import adopt, entries_beside
from storage.names import check_class_name
from storage.recording import Recording


@dataclass(frozen=True, slots=True)
class Work:
    """A recording that is being labelled. No other program can label it before `close`.

    Attributes
    ----------
    opened : Opened
        The frames; there may be none, if all are sorted.
    session : Session
    journal : LabelJournal
    keeper : Keeper
        Writes the events of the session to the journal.
    adopted : int
        How many frames got live labels of an interrupted recording.
    finished : bool
        Whether interrupted sorting was completed.
    """

    opened: Opened
    session: Session
    journal: LabelJournal
    keeper: Keeper
    adopted: int = 0
    finished: bool = False

    def close(self) -> None:
        self.opened.recording.close()
        self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_work(
    path: Path,
    *,
    track: str | None = None,
    classes: Sequence[str] = (),
    by_name: bool | None = None,
    relabel: bool = False,
) -> Work:
    """Open a recording to label it, and go on where its journal ends.

    Parameters
    ----------
    path : path
    track : str, optional
        As in `storage.open_recording`.
    classes : sequence of str
        The names of the keys 0, 1 …; if there are none, those used here before, or those that the file came with.
    by_name : bool, optional
        Whether class directories have the classes' names; by default as before.
    relabel : bool
        Show frames that are in class directories as well.

    Raises
    ------
    StorageError
        It is no recording with pictures, or it is being labelled already; `OptionError` if the classes don't fit.
    """
    check(path)
    of_track = _check_pictures(path, track)
    adopted = adopt(path)
    with _long_lived():
        journal = LabelJournal(journal_path(path, of_track))
    try:
        finished = path.is_dir() and finish(path, journal)
        recording = open_recording(path, track=track)
        try:
            journal.belongs_to(recording)
            chosen = _choose_classes(recording, journal.entries, classes, by_name)
            opened = open_frames(recording, chosen, journal.entries, relabel=relabel)
            if not (opened.names or opened.sorted):
                raise StorageError(f"{path}: no frames to label; record some: python -m pi_capture {path} -1")
            session = Session(len(opened.names), opened.labels)
            if not replay(session, opened.names, renumbered(journal.entries, chosen)):
                session.go(0 if relabel else max(0, session.labels.find(NONE)))
            keeper = Keeper(journal, opened.names, chosen, session.cursor)
            if classes:
                keeper.name_classes()  # names are given once, whether or not a label follows
        except BaseException:
            recording.close()
            raise
    except BaseException:
        journal.close()
        raise
    return Work(opened, session, journal, keeper, adopted, finished)


def check(path: Path) -> None:
    """Refuse a path that is no recording, before any file is made there. Raises StorageError."""
    if not path.exists():
        raise StorageError(f"{path}: no such recording")
    if path.is_dir():
        place = locate(path)
        if place.class_name is not None:
            raise StorageError(f"{path} is a class directory; open {place.data_dir} with --relabel to look through it")


def _check_pictures(path: Path, track: str | None) -> str:
    """Refuse a file without pictures, or without that track of them. Returns its `Recording.of_track`."""
    if path.is_dir() and track is None:
        return ""
    with open_recording(path, track=track) as recording:
        if not recording.has_pictures:
            recording.read(0)  # raises the reason
        return recording.of_track


@contextmanager
def _long_lived() -> Iterator[None]:
    """Turn Python's garbage collector off meanwhile; later it ignores all objects made here.

    A hundred thousand labels are no garbage. To examine them again and again takes as long as reading them, and later
    it would delay the picture after a key.
    """
    gc.collect()  # else earlier garbage would stay, too
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def check_classes(path: Path, classes: Sequence[str], by_name: bool | None = None) -> None:
    """Raise what `open_work` raises of classes that don't fit; the recording may be open."""
    with open_recording(path) as recording:
        _choose_classes(recording, entries_beside(recording), classes, by_name)


def _choose_classes(
    recording: Recording, entries: Sequence[Entry], wanted: Sequence[str], by_name: bool | None
) -> Classes:
    """Return the classes that are wanted, else those used here before, else those that the file came with."""
    names = wanted or known_classes(entries).names or classes_of_file(recording, MOST_CLASSES).names
    if len(names) > MOST_CLASSES:
        raise OptionError(f"--classes: {recording.path} has labels of {len(names)} classes, more than there are keys")
    in_use = recording.class_names
    classes = choose_classes(recording.path, entries, names, in_use=in_use, by_name=by_name)
    for name in {*classes.directories} & {*names}:
        try:
            check_class_name(name)
        except StorageError as error:
            raise OptionError(f"--classes: {error}; choose another name, or give --class-dirs numbers") from None
    return classes
