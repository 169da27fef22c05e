"""``python -m classify``: the command line of the labeller.

It opens the recording, its journal and the window, and applies the labels at S. Failures are one line and an exit
status: 0 fine, 1 failed with every label kept, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from storage.commands.console import (
    Parser,
    Version,
    fail,
    print_line,
    report_left_out,
    report_tracks,
    run_command,
    track_argument,
)
from storage.commands.standard_streams import open_standard_streams

if TYPE_CHECKING:
    from classify.actions import Ended
    from classify.commit import Applied
    from classify.window.view import Legend
    from classify.window.window import Window
    from classify.work import Work

EXAMPLES = """\
examples:
  python -m classify day1                                    label the frames of day1; H shows the keys
  python -m classify day1 --classes none,door,light,music,stop
  python -m classify day1 --classes none,door --class-dirs numbers   sort into day1/0, day1/1
  python -m classify day1 --tolerance 2                      A proposes labels; borders may be 2 frames off
  python -m classify day1 --relabel                          look through what is sorted already
  python -m classify day1 --undo                             take the last S back

Every label is kept the moment its key is pressed. After the window was closed, or the power failed, the next start goes
on where you were.

exit status: 0 fine; 1 failed, with every label kept; 2 wrong usage
"""


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
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
        help="names of the classes of the keys 0, 1 …, up to nine, as in none,door, given once; or how many classes "
        "(default: 5, or those used here before)",
    )
    parser.add_argument(
        "--class-dirs",
        choices=("numbers", "names"),
        help="call new class directories by name (default, unless there are numbered ones) or by number",
    )
    track_argument(parser)
    parser.add_argument(
        "--tolerance",
        metavar="FRAMES",
        type=_frames,
        default=0,
        help="how many frames a border may be off; the more, the less A and M ask (default: 0)",
    )
    parser.add_argument(
        "--disagreements", action="store_true", help="show the labels that a model doubts, one after another"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default="imagenet",
        help="weights of the network that A uses, as for storage features",
    )
    parser.add_argument("--relabel", action="store_true", help="show also the frames that are sorted already")
    parser.add_argument("--undo", action="store_true", help="undo the last S, and end")
    parser.add_argument("--version", action=Version, nargs=0, help="show the version, and end")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the labeller's command line; returns the exit status."""
    open_standard_streams()
    args = build_parser().parse_args(arguments)
    # Learning in several threads of numpy's library is slower, and takes the processors away from keys.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from classify.window.window import WindowError

    return run_command(
        lambda: _undo(args.directory) if args.undo else _label(args),
        partial(fail, program="classify"),
        about=args.directory,
        interrupted="interrupted; every label is kept, the same command goes on",
        failures=(WindowError,),
    )


# ----------------------------------------------------------------------------------------------------------- labelling


def _label(args: argparse.Namespace) -> int:
    from classify.actions import Ended
    from classify.commit import save
    from classify.window.window import load_opencv
    from classify.work import check, open_work

    path: Path = args.directory
    relabel = args.relabel or args.disagreements
    check(path)
    load_opencv()
    window: Window | None = None
    try:
        while True:
            names, by_name = args.classes or (), None if args.class_dirs is None else args.class_dirs == "names"
            with open_work(path, track=args.track, classes=names, by_name=by_name, relabel=relabel) as work:
                if window is None:
                    _report_opened(path, args.track, work)
                if not work.opened.names:
                    total = work.opened.sorted.total()
                    _say(f"{path}: all {total:,} frames are in class directories; --relabel shows them")
                    return 0
                ended, window = _show(work, args, window)
                if ended is Ended.REFRESH:
                    continue
                window.close()
                window = None
                if ended is Ended.SAVE:
                    _report_saved(path, work, save(work.opened, work.session, work.journal))
                elif work.session.labels != work.session.came_with:
                    _say(f"{path}: nothing was moved; the labels are kept, the same command goes on")
                return 0
    finally:
        if window is not None:
            window.close()


def _report_opened(path: Path, track: str | None, work: Work) -> None:
    if path.is_file():
        report_tracks(path, track)
    report_left_out(path)
    if work.adopted:
        _say(f"{path}: {work.adopted:,} frames have labels from the recording, which had been interrupted")
    if work.finished:
        _say(f"{path}: what was interrupted last time is complete now")


def _show(work: Work, args: argparse.Namespace, window: Window | None) -> tuple[Ended, Window]:
    """Label in a window until the user closes it."""
    from classify.desk import Labelling
    from classify.learner import Learner
    from classify.pictures import Pictures
    from classify.window.layout import SIZE
    from classify.window.window import Window

    session, opened = work.session, work.opened
    learner = Learner(args.directory, opened.indices, len(opened.classes.names), track=args.track, weights=args.weights)
    pictures = Pictures(
        session.count, work.opened.read, min(session.cursor, session.count - 1), work.opened.elapsed_ns()
    )
    try:
        window = window or Window(SIZE)
        legend = _legend(work, args.relabel)
        helped = {"tolerance": args.tolerance, "learner": learner, "doubting": args.disagreements}
        return Labelling(work, pictures, legend, window, **helped).run(), window
    finally:
        learner.close()
        pictures.close()


def _legend(work: Work, relabel: bool) -> Legend:
    from classify.session import FIRST_FOREIGN
    from classify.window.view import Legend
    from storage.names import printable

    opened, classes = work.opened, work.opened.classes
    names = [
        (number, printable(name), opened.sorted[directory])
        for number, (name, directory) in enumerate(zip(classes.names, classes.directories, strict=True))
    ]
    names += [(FIRST_FOREIGN + number, printable(name), 0) for number, name in enumerate(opened.foreign)]
    track = opened.recording.of_track
    title = printable(opened.recording.path.resolve().name + (f", {track}" if track else ""))
    saving = "saves the labels" if opened.directory is None else "sorts them into class directories"
    return Legend(title, names, len(classes.names), relabel, saving)


# --------------------------------------------------------------------------------------------------- applying, and back


def _report_saved(path: Path, work: Work, applied: Applied) -> None:
    from classify.session import NONE
    from storage.names import natural_key, shown_class

    opened, session = work.opened, work.session
    if opened.directory is not None and not (applied.counts or applied.missing):
        _say(f"{path}: no frame was labelled, nothing was moved")
        return
    where = f"labelled in {applied.table or path}" if opened.directory is None else "sorted"
    counts = sorted(applied.counts.items(), key=lambda item: natural_key(item[0]))
    named = dict(zip(opened.classes.directories, opened.classes.names, strict=True))
    parts = [f"{shown_class(name, named)} {count:,}" for name, count in counts if name]
    if applied.counts[""]:
        parts.append(f"without a class again {applied.counts['']:,}")
    _say(f"{path}: {applied.counts.total():,} frames {where}: {', '.join(parts) or 'none'}")
    for wanted, given in sorted(applied.renamed.items()):
        _say(f"{wanted} was there already; the frame is {given} now")
    for name in applied.missing:
        _say(f"{name} is not there any more")
    rest = session.labels.count(NONE)
    if rest:
        unreadable = len(session.unreadable)
        _say(f"{rest:,} frames are left without a class" + (f", {unreadable:,} of them unreadable" * (unreadable > 0)))


def _undo(path: Path) -> int:
    from classify.commit import take_back
    from classify.work import check
    from storage.labels.beside import journal_path
    from storage.labels.journal import LabelJournal

    check(path)
    with LabelJournal(journal_path(path)) as journal:
        count, missing, renamed = take_back(path, journal)
    for wanted, given in sorted(renamed.items()):
        _say(f"{wanted} is taken by now; the frame is {given}, without its label")
    for name in missing:
        _say(f"{name} is not there any more")
    _say(f"{path}: {count:,} frames are back where they were; their labels are kept for the next start")
    return 0


# -------------------------------------------------------------------------------------------------------- the arguments


def _classes(text: str) -> tuple[str, ...]:
    from classify.session import MOST_CLASSES

    names = tuple(map(str, range(int(text)))) if text.isascii() and text.isdigit() else tuple(text.split(","))
    names = tuple(name.strip() for name in names)
    if not 1 <= len(names) <= MOST_CLASSES:
        raise argparse.ArgumentTypeError(
            f"{len(names)} classes; give 1 to {MOST_CLASSES}, for the keys 0 to {MOST_CLASSES - 1}"
        )
    if "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: every class needs a name of its own")
    return names


def _frames(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of frames")
    return int(text)


def _say(text: str) -> None:
    print_line(text, sys.stderr)
