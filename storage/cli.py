"""``python -m storage``: the command line for recordings at rest.

It reads the arguments, shows progress and turns failures into one line and an exit status: 0 done, 1 failed, 2 wrong
usage, 3 done but problems were found. Each command is a row in `COMMANDS` and a function that calls the module of its
name.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.cli_labels import LABELS, labels, labels_arguments
from storage.dataset import printable
from storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.split import Split

EXAMPLES = """\
examples:
  python -m storage info day1                      classes, counts, sizes, times
  python -m storage info day1 --sheet day1.png     and a picture of them
  python -m storage info day1.mkv --plot tracks.png  its pictures, sensors, sound and labels over time
  python -m storage verify day1                    is every frame whole, and the layout right?
  python -m storage verify day1 --quarantine bad   move what is broken to bad/
  python -m storage split day1 --val 0.1           hold out whole stretches of time: val_day1/
  python -m storage split day1 --undo              take that back
  python -m storage merge all day1 day2 day3       bring labelled directories together
  python -m storage extract day1.mkv day1          its frames as PNG files, in the directories of their classes
  python -m storage extract clip.mp4 day1 --fps 2  two frames a second of any video
  python -m storage convert day1 day1.mkv          any format into any other, by the names
  python -m storage convert frames out.mp4 --fps 30
  python -m storage features day1 day1.features.h5 256 numbers a frame, for training without the pictures
  python -m storage export day1.mkv files          its tracks: frames, sensors, sound, labels
  python -m storage merge-streams all.mkv A.mkv B.mkv C.wav --sync-on click
  python -m storage labels day1.mkv --export day1.srt   and --import: SRT, WebVTT, ASS, CSV, ELAN, Audacity

exit status: 0 done; 1 failed, in one line; 2 wrong usage; 3 done, but problems were found
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(arguments)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except StorageError as error:
        return _fail(error)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _fail(f"{error.filename or args.command}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail("interrupted; nothing is lost, the same command goes on")
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m storage",
        description="Look after recordings: see what they hold, check, merge and split them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for row in COMMANDS:
        command = commands.add_parser(
            row.name, help=row.help, description=row.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        row.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print one object on stdout")
        command.set_defaults(run=row.run)
    return parser


# ----------------------------------------------------------------------------------------------------------------- info


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="a recording")
    parser.add_argument("--sheet", metavar="OUT.png", type=Path, help="draw a contact sheet, a row for each class")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw the tracks of a media file over time")


def _info(args: argparse.Namespace) -> int:
    from storage.info import as_json, as_text, describe

    infos = [describe(path) for path in args.paths]
    if args.sheet is not None:
        from storage.sheet import write_sheet

        write_sheet(args.sheet, args.paths)
    if args.plot is not None:
        from storage.plot import write_plot

        if len(args.paths) > 1:
            return _fail("--plot draws one recording")
        write_plot(args.plot, args.paths[0])
    if args.json:
        _print_json({"recordings": [as_json(info) for info in infos]})
    else:
        print("\n\n".join(as_text(info) for info in infos))
    return 0


# --------------------------------------------------------------------------------------------------------------- verify


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="a recording")
    parser.add_argument("--quarantine", metavar="DIR", type=Path, help="move broken frames there, to their classes")


def _verify(args: argparse.Namespace) -> int:
    from storage.verify import check_quarantine, find_broken, quarantine, repair

    if args.quarantine is not None:
        for path in args.paths:
            check_quarantine(path, args.quarantine)
    reports = []
    for path in args.paths:
        repaired = repair(path)
        with _progress(f"verifying {path}") as progress:
            frames, broken = find_broken(path, progress=progress)
        moved = quarantine(broken, path, args.quarantine) if args.quarantine is not None else []
        problems = _layout_problems(path)
        reports.append(
            {
                "path": str(path),
                "frames": frames,
                "repaired": repaired,
                "broken": [
                    {"file": str(frame.path), "frame": frame.index, "reason": frame.reason}
                    | ({"moved_to": str(moved[number])} if moved else {})
                    for number, frame in enumerate(broken)
                ],
                "layout": [
                    {"path": str(problem.path), "what": problem.what, "breaks": problem.breaks} for problem in problems
                ],
            }
        )
    if args.json:
        _print_json({"recordings": reports})
    else:
        for report in reports:
            _tell_verified(report)
    return 3 if any(report["broken"] for report in reports) else 0


def _layout_problems(path: Path) -> list[Any]:
    from storage.layout import find_problems

    return find_problems(path) if path.is_dir() else []


def _tell_verified(report: dict[str, Any]) -> None:
    path, broken = report["path"], report["broken"]
    if report["repaired"]:
        print(f"{path}: {report['repaired']}")
    for frame in broken:
        where = frame["file"] if frame["file"] != path else f"{path} frame {frame['frame']}"
        moved = f", moved to {printable(frame['moved_to'])}" if "moved_to" in frame else ""
        print(f"{printable(where)}: {printable(frame['reason'])}{moved}")
    for problem in report["layout"]:
        print(f"warning: {printable(problem['path'])} {problem['what']}: {problem['breaks']}")
    print(f"{path}: {report['frames']} frames, {len(broken) or 'none'} broken")


# ---------------------------------------------------------------------------------------------------------------- merge


def _merge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", type=Path, help="where to; added to if it exists")
    parser.add_argument("inputs", metavar="IN", type=Path, nargs="+", help="a labelled data directory; not changed")
    parser.add_argument(
        "--link",
        choices=("hard", "copy"),
        default="hard",
        help="hard: the frames get a second name, and take no room (default; copied where that can't be); "
        "copy: for directories that other programs edit pictures in",
    )
    parser.add_argument("--unlabelled", action="store_true", help="take the frames without a class as well")


def _merge(args: argparse.Namespace) -> int:
    from storage.merge import merge

    with _progress(f"merging into {args.out}") as progress:
        merged = merge(args.out, args.inputs, link=args.link == "hard", unlabelled=args.unlabelled, progress=progress)
    if args.json:
        _print_json(
            {
                "path": str(args.out),
                "added": dict(merged.counts),
                "linked": merged.linked,
                "copied": merged.copied,
                "present": merged.present,
                "left_out": merged.left_out,
                "conflicts": [{"file": str(path), "reason": reason} for path, reason in merged.conflicts],
            }
        )
        return 3 if merged.conflicts else 0
    for path, reason in merged.conflicts:
        print(f"{printable(str(path))} was left out: it {reason}")
    for directory, count in merged.left_out.items():
        if count:
            print(
                f"{directory}: {count} frames without a class were left out; --unlabelled takes them too",
                file=sys.stderr,
            )
    added = ", ".join(f"{printable(name) or 'no class'} {count}" for name, count in sorted(merged.counts.items()))
    print(
        f"{args.out}: {merged.linked + merged.copied} frames added ({added or 'none'}), {merged.linked} linked, "
        f"{merged.copied} copied, {merged.present} were there already"
    )
    return 3 if merged.conflicts else 0


# ---------------------------------------------------------------------------------------------------------------- split

SPLIT = """\
Move whole stretches of time from DIR to val_DIR beside it, for validation.

Frames next to each other are near copies: if they are split at random, a network is tested on what it
has seen. So whole stretches are held out, and the frames within --gap seconds of them are in neither
directory: they go to gap_DIR, with their classes. --undo brings everything back.
"""


def _split_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a labelled data directory")
    parser.add_argument("--val", metavar="SHARE", type=_share, default=0.1, help="share to hold out (default: 0.1)")
    parser.add_argument(
        "--gap", metavar="SECONDS", type=_not_negative, default=2.0, help="between the two sides (default: 2)"
    )
    parser.add_argument(
        "--stretch", metavar="SECONDS", type=_positive, help="length of a stretch (default: as the classes need it)"
    )
    parser.add_argument("--seed", metavar="N", type=_seed, default=0, help="choose other stretches (default: 0)")
    parser.add_argument("--allow-missing", action="store_true", help="go on if a class would be missing on one side")
    parser.add_argument("--dry-run", action="store_true", help="show what would be moved, and move nothing")
    parser.add_argument("--undo", action="store_true", help="take the split back")


def _split(args: argparse.Namespace) -> int:
    from storage.split import complete_split, is_split, split, undo_split

    if args.undo:
        moved = undo_split(args.directory)
        if args.json:
            _print_json({"path": str(args.directory), "moved_back": moved.count, "missing": moved.missing})
        else:
            print(f"{args.directory}: {moved.count} frames are back")
        return _tell_missing(moved.missing)
    completed = None if args.dry_run else complete_split(args.directory)
    if completed is not None:
        if args.json:
            _print_json({"path": str(args.directory), "completed": completed.count, "missing": completed.missing})
        else:
            what = "split" if is_split(args.directory) else "undoing"
            print(f"{args.directory}: the {what} that was interrupted is complete now")
        return _tell_missing(completed.missing)
    result = split(
        args.directory,
        val=args.val,
        gap=args.gap,
        stretch=args.stretch,
        seed=args.seed,
        allow_missing=args.allow_missing,
        dry_run=args.dry_run,
    )
    if args.json:
        _print_json(
            {
                "train": str(result.data_dir),
                "val": str(result.val_dir),
                "gap": str(result.gap_dir),
                "classes": {
                    name: dict(zip(("train", "val", "gap"), counts, strict=True))
                    for name, counts in result.counts.items()
                },
                "stretch_seconds": result.stretch,
                "stretches": result.held_out,
                "moved": not args.dry_run,
                "notes": result.notes,
            }
        )
    else:
        _tell_split(result, args)
    return 0


def _tell_split(result: Split, args: argparse.Namespace) -> None:
    totals = [sum(counts[side] for counts in result.counts.values()) for side in range(3)]
    width = max(8, *(len(printable(name)) for name in result.counts))
    print(f"  {'class':{width}}  {'train':>8}  {'val':>8}  {'gap':>8}  {'val %':>5}")
    for name, counts in [*result.counts.items(), ("all", totals)]:
        share = 100 * counts[1] / max(1, sum(counts))
        print(f"  {printable(name):{width}}  {counts[0]:8}  {counts[1]:8}  {counts[2]:8}  {share:5.1f}")
    one = result.held_out == 1
    print(
        f"{result.val_dir}: {result.held_out} {'stretch' if one else 'stretches'} of about {result.stretch:g} s"
        + (f"; {result.gap_dir}: what lies within {args.gap:g} s of {'it' if one else 'them'}" if totals[2] else "")
    )
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.dry_run:
        print("nothing was moved")


def _tell_missing(missing: Sequence[str]) -> int:
    for path in missing:
        print(f"{printable(path)} is not there any more", file=sys.stderr)
    return 3 if missing else 0


# -------------------------------------------------------------------------------------------------------------- extract

EXTRACT = """\
Write the frames of a recording, or of any video that a phone or another program made, as PNG files.

They keep their times and their numbers, and go into the directories of their classes if they have one.
Interrupted, the same command goes on; what is there already stays as it is.
"""


def _extract_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a recording, or any video")
    parser.add_argument("directory", metavar="DIR", type=Path, help="a new data directory, or one begun from there")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--every", metavar="N", type=_count, help="only every N-th frame")
    some.add_argument("--fps", metavar="N", type=_positive, help="only N frames a second, by their own times")
    parser.add_argument("--from", dest="start", metavar="S", type=_not_negative, help="from S seconds on")
    parser.add_argument("--to", dest="end", metavar="S", type=_positive, help="up to S seconds")
    parser.add_argument("--labelled", action="store_true", help="only frames that have a class")


def _extract(args: argparse.Namespace) -> int:
    from storage.extract import extract

    with _progress(f"extracting {args.source}") as progress:
        done = extract(
            args.source,
            args.directory,
            every=args.every,
            fps=args.fps,
            start=args.start,
            end=args.end,
            labelled=args.labelled,
            progress=progress,
        )
    if args.json:
        _print_json({"path": str(args.directory), "written": done.written, "present": done.present})
    else:
        there = f", {done.present} were there already" if done.present else ""
        print(f"{args.directory}: {done.written} frames written{there}")
    return 0


# -------------------------------------------------------------------------------------------------------------- convert

CONVERT = """\
Make a recording in another format, told by the names: a directory (PNG files), .h5, .mkv; or .mp4 and
.mov, H.264 in yuv420p, for other programs. Frames, times, labels and what is known of the sessions go
along; labels of .mp4 and .mov into a table beside them. IN may also be a directory of pictures from
elsewhere, or any video.
"""


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="a recording, pictures or any video; not changed")
    parser.add_argument("target", metavar="OUT", type=Path, help="what to make; must not be there yet")
    parser.add_argument("--fps", metavar="N", type=_positive, help="give the frames new times, N a second")
    parser.add_argument("--codec", metavar="NAME", help="of a .mkv: ffv1 (default), h264-lossless, h264, mjpeg")
    parser.add_argument("--crf", metavar="N", type=int, help="quality of h264: 0 (best) to 51, 18 if not given")


def _convert(args: argparse.Namespace) -> int:
    from storage.convert import convert

    with _progress(f"converting {args.source}") as progress:
        frames = convert(args.source, args.target, fps=args.fps, codec=args.codec, crf=args.crf, progress=progress)
    if args.json:
        _print_json({"path": str(args.target), "frames": frames})
    else:
        print(f"{args.target}: {frames} frames")
    return 0


# ------------------------------------------------------------------------------------------------------------- features

FEATURES = """\
Compute MobileNet's features of a recording, 256 numbers a frame, as recording to .features.h5 would
have. Labels, times and what is known of the sessions go along.
"""


def _features_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="a recording, or any video; not changed")
    parser.add_argument("target", metavar="OUT.features.h5", type=Path, help="what to make; must not be there yet")
    parser.add_argument(
        "--weights", metavar="FILE", default="imagenet", help="imagenet (default), or .tflite, .keras, .weights.h5, .pb"
    )


def _features(args: argparse.Namespace) -> int:
    from storage.convert import convert

    if not args.target.name.lower().endswith(".features.h5"):
        return _fail(f"{args.target}: features go into a .features.h5 file, such as {args.source.stem}.features.h5")
    with _progress(f"computing features of {args.source}") as progress:
        frames = convert(args.source, args.target, weights=args.weights, progress=progress)
    if args.json:
        _print_json({"path": str(args.target), "frames": frames})
    else:
        print(f"{args.target}: {frames} frames")
    return 0


# -------------------------------------------------------------------------------------------------------- merge-streams

MERGE_STREAMS = """\
Bring pictures, sound, sensors and labels of several files together in one Matroska file, as they are.

Each file is put where it belongs in the first one's time: by --offset if you give one, by what both saw
(--sync-on), or by the wall clock where both know it. Files of labels (.srt, .vtt, .ass) count from the
first file's begin. What was found, and how far off it may be, is told.
"""


def _merge_streams_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT.mkv", type=Path, help="what to make; must not be there yet")
    parser.add_argument("inputs", metavar="IN", type=Path, nargs="+", help="a recording, video, sound, labels")
    parser.add_argument(
        "--offset",
        metavar="NAME=SECONDS",
        type=_offset,
        action="append",
        default=[],
        help="this file begins so many seconds after the first one (or before it: NAME=-1.5)",
    )
    parser.add_argument(
        "--sync-on",
        choices=("flash", "click", "cross-correlation"),
        help="find the others by a flash in the pictures, a click in sound or sensors, or the whole of the sound",
    )


def _merge_streams(args: argparse.Namespace) -> int:
    from storage.merge_streams import merge_streams

    with _progress(f"merging into {args.out}", " s") as progress:
        merged = merge_streams(
            args.out, args.inputs, offsets=dict(args.offset), sync_on=args.sync_on, progress=progress
        )
    if args.json:
        _print_json(
            {
                "path": str(args.out),
                "seconds": round(merged.seconds, 3),
                "begin": merged.begin_seconds,
                "packets": merged.packets,
                "inputs": [
                    {
                        "path": str(one.path),
                        "offset": one.offset_ns / 1e9,
                        "aligned_by": one.how,
                        "residual": None if one.residual_ns is None else one.residual_ns / 1e9,
                        "note": one.note,
                    }
                    for one in merged.alignments
                ],
                "tracks": [
                    {"name": name, "kind": track.kind, "codec": track.codec, "from": str(path)}
                    for path, track, name in merged.tracks
                ],
                "left_out": [{"from": str(path), "track": track.number} for path, track in merged.left_out],
            }
        )
        return 0
    width = max(len(printable(one.path.name)) for one in merged.alignments)
    for one in merged.alignments:
        off = "" if one.residual_ns is None else f", to within {one.residual_ns / 1e6:.1f} ms"
        note = f" ({printable(one.note)})" if one.note else ""
        print(f"  {printable(one.path.name):{width}}  {one.offset_ns / 1e9:+12.4f} s  {one.how}{off}{note}")
    for path, track in merged.left_out:
        print(f"{path}: track {track.number} was left out: it is no picture, sound or text", file=sys.stderr)
    if merged.begin_seconds:
        print(f"  all moved by {merged.begin_seconds:.4f} s, so that nothing comes before 0")
    names = ", ".join(printable(name) for _, _, name in merged.tracks)
    print(f"{args.out}: {merged.seconds:.1f} s, {len(merged.tracks)} tracks: {names}")
    return 0


# --------------------------------------------------------------------------------------------------------------- export

EXPORT = """\
Write the tracks of a Matroska or other media file as files that any program reads: frames as PNG files,
sensors as CSV and NPY, sound as WAV, labels as CSV. All have times: seconds of the file's own time, and
since 1970 where the recorder noted the wall clock. Interrupted, the same command goes on; what is there
already stays as it is.
"""


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN.mkv", type=Path, help="a recording, or any video or sound")
    parser.add_argument("directory", metavar="DIR", type=Path, help="a new directory, or one begun from there")
    parser.add_argument(
        "--only", choices=("frames", "sensors", "sound", "labels"), action="append", help="just these; repeatable"
    )


def _export(args: argparse.Namespace) -> int:
    from storage.export import export

    with _progress(f"exporting {args.source}") as progress:
        done = export(args.source, args.directory, only=args.only or (), progress=progress)
    if args.json:
        rows = [
            {"file": one.file, "track": one.track, "count": one.count, "begin": one.begin, "new": one.new, **one.facts}
            for one in done
        ]
        _print_json({"path": str(args.directory), "files": rows})
        return 0
    width = max((len(printable(one.file)) for one in done), default=0)
    for one in done:
        there = "" if one.new else ", was there already"
        print(f"  {printable(one.file):{width}}  {one.count:9}  from {one.begin:.3f} s on{there}")
    print(
        f"{args.directory}: {len(done)} of {args.source}'s tracks as files" if done else f"{args.source}: nothing such"
    )
    return 0


# ------------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class _Command:
    """A command: its name, what ``--help`` says, and the functions that take its arguments and run it."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    description: str | None = None


COMMANDS = (
    _Command("info", "what is there: classes, counts, sizes, times", _info_arguments, _info),
    _Command("verify", "is every frame whole, and the layout right?", _verify_arguments, _verify),
    _Command("merge", "bring labelled directories together in one", _merge_arguments, _merge),
    _Command("split", "hold out whole stretches of time for validation", _split_arguments, _split, SPLIT),
    _Command("extract", "frames of a recording or any video as PNG files", _extract_arguments, _extract, EXTRACT),
    _Command("convert", "a recording into another format", _convert_arguments, _convert, CONVERT),
    _Command("features", "256 numbers of each frame, by MobileNet", _features_arguments, _features, FEATURES),
    _Command("export", "the tracks of a file as PNG, CSV, NPY and WAV files", _export_arguments, _export, EXPORT),
    _Command(
        "merge-streams", "several files into one, aligned", _merge_streams_arguments, _merge_streams, MERGE_STREAMS
    ),
    _Command("labels", "labels as intervals: subtitles, ELAN, Audacity", labels_arguments, labels, LABELS),
)


class _Version(argparse.Action):
    """Looks the version up when it is asked for, and only then."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"pi-capture {version('pi-capture')}")
        except PackageNotFoundError:
            print("pi-capture, not installed")
        parser.exit()


@contextmanager
def _progress(what: str, unit: str = " frames") -> Iterator[Callable[[int, int], None] | None]:
    """A progress line, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, leave=False, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield show


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps({"version": 1, **content}))


def _fail(reason: object) -> int:
    print(f"storage: {printable(str(reason))}", file=sys.stderr)
    return 1


# ------------------------------------------------------------------------------------------------ the arguments' types


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def _offset(text: str) -> tuple[str, float]:
    name, separator, seconds = text.rpartition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must be a file's name and seconds, such as B=+1.25")
    return name, _number(seconds)


def _share(text: str) -> float:
    number = _number(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0 and less than 1, such as 0.1")
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0")
    return number


def _not_negative(text: str) -> float:
    number = _number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} must not be negative")
    return number


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 0 or more")
    return int(text)
