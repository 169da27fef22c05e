"""``python -m classify``: the command line of the labeller.

It opens the recording, its journal and the window, and applies the labels when the person asks for it. Failures are one
line and an exit status: 0 fine, 1 failed with every label kept, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import gc
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from storage.commands.console import Version, fail, run_command, tell_of_tracks, track_argument
from storage.commands.standard_streams import open_standard_streams

if TYPE_CHECKING:
    from classify.commit import Applied
    from classify.desk import Ended
    from classify.frames import Opened
    from classify.session import Session
    from classify.window.view import Legend
    from classify.window.window import Window
    from storage.labels.journal import Classes, LabelJournal
    from storage.recording import Recording

MOST_CLASSES = 9

EXAMPLES = """\
examples:
  python -m classify day1                                    label the frames of day1; H shows the keys
  python -m classify day1 --classes none,door,light,music,stop
  python -m classify day1 --classes none,door --class-dirs names     sort into day1/none, day1/door
  python -m classify day1 --relabel                          look through what is sorted already
  python -m classify day1 --undo                             take the last S back

Every label is kept the moment its key is pressed: closing the window or pulling the plug costs nothing, the next start
goes on where you were.

exit status: 0 fine; 1 failed, with every label kept; 2 wrong usage
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m classify",
        usage="%(prog)s DIRECTORY [options]",
        description="Label the frames of a recording with the keyboard, and sort them into class directories.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="the recording: a data directory, or a file")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        type=_classes,
        help="names of the classes of the keys 0, 1 …, up to nine, as in none,door; or just how many "
        "(default: 5, or those used here before)",
    )
    parser.add_argument(
        "--class-dirs",
        choices=("numbers", "names"),
        help="what class directories are called (default: numbers, or as before)",
    )
    track_argument(parser)
    parser.add_argument("--relabel", action="store_true", help="show the frames in class directories as well")
    parser.add_argument("--undo", action="store_true", help="undo the last S, and end")
    parser.add_argument("--version", action=Version, nargs=0, help="show the version, and end")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the labeller's command line; returns the exit status."""
    open_standard_streams()
    parser = build_parser()
    args = parser.parse_args(arguments)
    from classify.window.window import WindowError

    try:
        return run_command(
            lambda: _undo(args.directory) if args.undo else _label(args),
            partial(fail, program="classify"),
            about=args.directory,
            interrupted="interrupted; every label is kept, the same command goes on",
            failures=(WindowError,),
        )
    except _UsageError as error:
        parser.error(str(error))


# ----------------------------------------------------------------------------------------------------------- labelling


def _label(args: argparse.Namespace) -> int:
    from classify.desk import Ended
    from classify.window.window import load_opencv, prepare
    from storage.labels.journal import LabelJournal, journal_path
    from storage.labels.live import adopt

    path: Path = args.directory
    _check(path)
    load_opencv()
    of_track = _check_track(path, args.track) if path.is_file() or args.track is not None else ""
    adopted = adopt(path)
    if adopted:
        _say(f"{path}: {adopted:,} frames have labels from the recording, which had been interrupted")
    prepare()
    window: Window | None = None
    try:
        while True:
            with _long_lived():
                journal = LabelJournal(journal_path(path, of_track))
            with journal:
                desk = _set_up(args, journal)
                if desk is None:
                    return 0
                ended, window = _work(desk, window)
                if ended is Ended.REFRESH:
                    continue
                window.close()
                window = None
                if ended is Ended.SAVE:
                    return _save(desk)
                if desk.session.labels != desk.opened.labels:
                    _say(f"{path}: nothing was moved; the labels are kept, the same command goes on")
                return 0
    finally:
        if window is not None:
            window.close()


@contextmanager
def _long_lived() -> Iterator[None]:
    """Turn Python's garbage collector off meanwhile; later it ignores all objects that were made here.

    A hundred thousand labels are no garbage. To look through them again and again takes as long as to read them, and
    later it would come between a key and its picture.
    """
    gc.collect()  # or what is left from before would stay, too
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclass(frozen=True, slots=True)
class _Desk:
    """The recording that is being labelled, and where its labels are kept."""

    path: Path
    journal: LabelJournal
    classes: Classes
    opened: Opened
    session: Session
    relabel: bool
    directory: os.stat_result | None
    """The directory's identity, or None for a file: another may have its name by the time of S."""


def _check(path: Path) -> None:
    """Refuse a path that is no recording, before any file is made there."""
    from storage.errors import StorageError
    from storage.formats.png.directory import locate

    if not path.exists():
        raise StorageError(f"{path}: no such recording")
    if path.is_dir():
        place = locate(path)
        if place.class_name is not None:
            raise StorageError(f"{path} is a class directory; open {place.data_dir} with --relabel to look through it")


def _check_track(path: Path, track: str | None) -> str:
    """Refuse a file without pictures, or without that track of them; returns its `Recording.of_track`."""
    from storage.formats.table import open_recording

    with open_recording(path, track=track) as recording:
        if not recording.has_pictures:
            recording.read(0)  # it says so
        tell_of_tracks(path, track)
        return recording.of_track


def _set_up(args: argparse.Namespace, journal: LabelJournal) -> _Desk | None:
    """Open the recording, and go on where the journal ends. None if there is nothing to label."""
    from classify.commit import finish
    from classify.frames import open_frames
    from classify.history import replay
    from classify.session import NONE, Session
    from storage.errors import StorageError
    from storage.formats.table import open_recording
    from storage.labels.classes import renumbered

    path: Path = args.directory
    directory = path.stat() if path.is_dir() else None
    if directory is not None and finish(path, journal):
        _say(f"{path}: what was interrupted last time is complete now")
    recording = open_recording(path, track=args.track)
    classes = _choose_classes(args, journal, recording)
    opened = open_frames(recording, classes, journal.entries, relabel=args.relabel)
    if opened.names:
        session = Session(len(opened.names), opened.labels)
        if not replay(session, opened.names, renumbered(journal.entries, classes)):
            session.go(0 if args.relabel else max(0, session.labels.find(NONE)))
        return _Desk(path, journal, classes, opened, session, args.relabel, directory)
    opened.recording.close()
    if not opened.sorted:
        raise StorageError(f"{path}: no frames to label; record some: python -m pi_capture {path} -1")
    _say(f"{path}: all {opened.sorted.total():,} frames are in class directories; --relabel shows them")
    return None


def _choose_classes(args: argparse.Namespace, journal: LabelJournal, recording: Recording) -> Classes:
    """The classes of ``--classes``, else those used here before, else those that the file came with."""
    from classify.frames import classes_of_file
    from storage.errors import StorageError
    from storage.labels.classes import choose_classes, known_classes
    from storage.names import check_class_name

    known = known_classes(journal.entries)
    names = args.classes or known.names or classes_of_file(recording, MOST_CLASSES).names
    if len(names) > MOST_CLASSES:
        raise _UsageError(f"--classes: {args.directory} has labels of {len(names)} classes, more than there are keys")
    by_name = None if args.class_dirs is None else args.class_dirs == "names"
    in_use = recording.class_names
    classes = choose_classes(args.directory, journal.entries, names, in_use=in_use, by_name=by_name)
    for name in {*classes.directories} & {*names}:
        try:
            check_class_name(name)
        except StorageError as error:
            raise _UsageError(f"--class-dirs names: {error}") from None
    return classes


def _work(desk: _Desk, window: Window | None) -> tuple[Ended, Window]:
    """Label in a window until the user closes it."""
    from classify.desk import Labelling, Work
    from classify.history import Keeper
    from classify.pictures import Pictures
    from classify.window.drawing import SIZE
    from classify.window.window import Window

    session, opened = desk.session, desk.opened
    pictures = Pictures(session.count, opened.read, min(session.cursor, session.count - 1))
    try:
        window = window or Window(SIZE)
        keeper = Keeper(desk.journal, opened.names, desk.classes, session.cursor)
        return Labelling(Work(session, pictures, desk.journal, keeper, _legend(desk)), window).run(), window
    finally:
        pictures.close()
        opened.recording.close()


def _legend(desk: _Desk) -> Legend:
    from classify.session import FIRST_FOREIGN
    from classify.window.view import Legend
    from storage.names import printable

    opened, classes = desk.opened, desk.classes
    names = [
        (number, printable(name), opened.sorted[directory])
        for number, (name, directory) in enumerate(zip(classes.names, classes.directories, strict=True))
    ]
    names += [(FIRST_FOREIGN + number, printable(name), 0) for number, name in enumerate(opened.foreign)]
    track = opened.recording.of_track
    title = printable(desk.path.resolve().name + (f", {track}" if track else ""))
    saving = "sorts them into class directories" if desk.path.is_dir() else "saves the labels"
    return Legend(title, names, len(classes.names), desk.relabel, saving)


# --------------------------------------------------------------------------------------------------- applying, and back


def _save(desk: _Desk) -> int:
    from classify.commit import Placement, move_labelled, write_labels
    from classify.session import NONE

    session, opened, classes = desk.session, desk.opened, desk.classes
    _check_still_there(desk)
    if desk.directory is None:
        labels = [opened.class_of(label, classes) for label in session.labels]
        applied = write_labels(desk.path, desk.journal, labels, classes, opened.recording.of_track)
        where = f"labelled in {applied.table or desk.path}"
    else:
        placements = [
            Placement(opened.names[position], None if label == NONE else label, opened.class_of(label, classes))
            for position, label in session.changes()
        ]
        if not placements:
            _say(f"{desk.path}: no frame was labelled, nothing was moved")
            return 0
        applied = move_labelled(desk.path, desk.journal, placements, classes)
        where = "sorted"
    _tell_applied(desk, applied, where)
    return 0


def _check_still_there(desk: _Desk) -> None:
    """Refuse to apply labels if another directory now has the recording's name: the labels would be lost."""
    from storage.errors import StorageError

    was = desk.directory
    try:
        now = desk.path.stat()
    except FileNotFoundError:
        raise StorageError(
            f"{desk.path} is not there any more; nothing was changed. Move it back, and the same command goes on"
        ) from None
    if stat.S_ISDIR(now.st_mode) if was is None else not os.path.samestat(was, now):
        raise StorageError(
            f"{desk.path} is another one than when the window opened; nothing was changed. Move back what was opened, "
            "and the same command goes on with its labels"
        )


def _tell_applied(desk: _Desk, applied: Applied, where: str) -> None:
    from classify.session import NONE
    from storage.names import natural_key, printable

    counts = sorted(applied.counts.items(), key=lambda item: natural_key(item[0]))
    named = dict(zip(desk.classes.directories, desk.classes.names, strict=True))
    parts = [f"{printable(_both(name, named))} {count:,}" for name, count in counts if name]
    if applied.counts[""]:
        parts.append(f"without a class again {applied.counts['']:,}")
    _say(f"{desk.path}: {applied.counts.total():,} frames {where}: {', '.join(parts) or 'none'}")
    for wanted, given in sorted(applied.renamed.items()):
        _say(f"{printable(wanted)} was there already; the frame is {printable(given)} now")
    for name in applied.missing:
        _say(f"{printable(name)} is not there any more")
    rest = desk.session.labels.count(NONE)
    if rest:
        unreadable = len(desk.session.unreadable)
        _say(f"{rest:,} frames are left without a class" + (f", {unreadable:,} of them unreadable" * (unreadable > 0)))


def _both(directory: str, named: dict[str, str]) -> str:
    name = named.get(directory, directory)
    return directory if name == directory else f"{directory} ({name})"


def _undo(path: Path) -> int:
    from classify.commit import finish, take_back
    from storage.care.split import is_split
    from storage.errors import StorageError
    from storage.labels.journal import LabelJournal, journal_path
    from storage.names import printable

    _check(path)
    if not path.is_dir():
        raise StorageError(f"{path}: S moved nothing, so there is nothing to move back; take labels back in the window")
    if is_split(path):
        raise StorageError(f"{path} is split; take that back first: python -m storage split {path} --undo")
    with LabelJournal(journal_path(path)) as journal:
        finish(path, journal)
        count, missing, renamed = take_back(path, journal)
    for wanted, given in sorted(renamed.items()):
        _say(f"{printable(wanted)} is taken by now; the frame is {printable(given)}, without its label")
    for name in missing:
        _say(f"{printable(name)} is not there any more")
    _say(f"{path}: {count:,} frames are back where they were; their labels are kept for the next start")
    return 0


# -------------------------------------------------------------------------------------------------------- the arguments


class _UsageError(Exception):
    """The arguments contradict each other, or the recording."""


def _classes(text: str) -> tuple[str, ...]:
    names = tuple(map(str, range(int(text)))) if text.isascii() and text.isdigit() else tuple(text.split(","))
    names = tuple(name.strip() for name in names)
    if not 1 <= len(names) <= MOST_CLASSES:
        raise argparse.ArgumentTypeError(f"{len(names)} classes; give 1 to {MOST_CLASSES}, for the keys 0 to 8")
    if "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: every class needs a name of its own")
    return names


def _say(text: str) -> None:
    print(text, file=sys.stderr)
