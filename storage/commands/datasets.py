"""The commands that look after recordings: info, verify, merge, split; each calls the module of its name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.commands.console import (
    Command,
    duration,
    duration_above_0,
    fail,
    print_json,
    print_line,
    progress_line,
    report_done,
    report_held_out,
    report_left_out,
    report_tracks,
    seed,
    share,
    track_argument,
)
from storage.commands.gathering import verify_against
from storage.errors import StorageError
from storage.names import printable, shown_class

if TYPE_CHECKING:
    from collections import Counter

    from storage.care.info import Info
    from storage.care.split import Split

# ----------------------------------------------------------------------------------------------------------------- info


def info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="a recording, or a directory of some")
    track_argument(parser)
    parser.add_argument("--table", action="store_true", help="one table of all of them, a line for each host and day")
    parser.add_argument("--sheet", metavar="OUT.png", type=Path, help="draw a contact sheet, a row for each class")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw the tracks of a media file over time")


def info(args: argparse.Namespace) -> int:
    from storage.care.info import as_json
    from storage.care.info_text import as_text
    from storage.care.listing import recordings_among

    args.paths = list(recordings_among(args.paths))
    if args.table:
        return _info_table(args)
    infos, failed = _described(args)
    for one in infos:
        report_tracks(one.path, args.track)
        report_left_out(one.path)
        report_held_out(one.path)
    if args.sheet is not None:
        from storage.care.sheet import MAX_PIXELS, write_sheet

        if empty := write_sheet(args.sheet, args.paths, track=args.track):
            too_large = f"{empty} of its frames are empty, as they have more than {MAX_PIXELS // 10**6} megapixels"
            print_line(f"{args.sheet}: {too_large}", file=sys.stderr)
    if args.plot is not None:
        from storage.streams.plot import write_plot

        if len(args.paths) > 1:
            return fail("--plot draws one recording", 2)
        write_plot(args.plot, args.paths[0])
    if args.json:
        print_json({"recordings": [as_json(info) for info in infos], "failed": failed})
    elif infos:
        print("\n\n".join(as_text(info) for info in infos))
    return 3 if failed else 0


def _info_table(args: argparse.Namespace) -> int:
    from storage.care import overview
    from storage.care.info import as_json

    if args.sheet is not None or args.plot is not None:
        return fail("--table goes without --sheet and --plot", 2)
    infos, failed = _described(args)
    rows = overview.by_host_and_day(infos)
    if args.json:
        recordings = [as_json(info) for info in infos]
        print_json({"recordings": recordings, "table": overview.as_json(rows), "failed": failed})
    else:
        print(overview.as_text(rows))
    return 3 if failed else 0


def _described(args: argparse.Namespace) -> tuple[list[Info], list[dict[str, str]]]:
    """What all recordings hold. Of several, one that can't be read is told, and the others follow."""
    from storage.care.info import describe

    infos, failed = [], []
    with progress_line("reading", " recordings") as progress:
        for number, path in enumerate(args.paths, 1):
            try:
                infos.append(describe(path, track=args.track))
            except (StorageError, OSError) as error:
                if len(args.paths) == 1 or args.sheet is not None:  # a sheet has all, or is not made
                    raise
                failed.append({"path": str(path), "reason": str(error)})
                fail(error)
            if progress is not None:
                progress(number, len(args.paths))
    return infos, failed


# --------------------------------------------------------------------------------------------------------------- verify


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="a recording, or a directory of some")
    parser.add_argument(
        "--repair", action="store_true", help="complete a recording that a crash has cut off; its frames stay"
    )
    parser.add_argument("--quarantine", metavar="DIR", type=Path, help="move broken frames to DIR, sorted by class")
    parser.add_argument(
        "--against",
        metavar="MANIFEST",
        type=Path,
        help="compare the recordings in the directory PATH that a manifest names; it says nothing of others",
    )


def verify(args: argparse.Namespace) -> int:
    if args.against is not None:
        return verify_against(args)
    from storage.care.listing import recordings_among
    from storage.care.verify import check_quarantine

    paths = list(recordings_among(args.paths))
    if args.quarantine is not None:
        for path in paths:
            check_quarantine(path, args.quarantine)
    reports, failed = [], []
    for path in paths:
        try:
            reports.append(_verified(path, args))
        except (StorageError, OSError) as error:
            if len(paths) == 1:
                raise
            failed.append({"path": str(path), "reason": str(error)})
            fail(error)
    if args.json:
        print_json({"recordings": reports, "failed": failed})
    else:
        for report in reports:
            _report_verified(report)
    return 3 if failed or any(report["broken"] for report in reports) else 0


def _verified(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    from storage.care.verify import Samples, find_broken, interruption, quarantine, repair

    samples = Samples()
    interrupted = repair(path) if args.repair else interruption(path)
    with progress_line(f"verifying {path}") as progress:
        frames, broken = find_broken(path, progress=progress, samples=samples)
    moved = []
    if args.quarantine is not None:  # damaged files beside the frames stay: the rest of them is of use
        moved = quarantine([frame for frame in broken if frame.index < frames], path, args.quarantine)
    return {
        "path": str(path),
        "frames": frames,
        "samples": {"count": samples.count, "tracks": samples.tracks, "checked": samples.checked},
        "interrupted": interrupted,
        "broken": [
            {"file": str(frame.path), "frame": frame.index, "reason": frame.reason}
            | ({"moved_to": str(moved[number])} if number < len(moved) else {})
            for number, frame in enumerate(broken)
        ],
        "layout": [
            {"path": str(problem.path), "what": problem.what, "breaks": problem.breaks}
            for problem in _layout_problems(path)
        ],
    }


def _layout_problems(path: Path) -> list[Any]:
    from storage.care.layout import find_problems

    return find_problems(path) if path.is_dir() else []


def _report_verified(report: dict[str, Any]) -> None:
    path, broken = report["path"], report["broken"]
    if report["interrupted"]:
        print_line(f"{path}: {report['interrupted']}")
    for frame in broken:
        is_frame = frame["file"] == path and frame["frame"] < report["frames"]
        where = f"{path} frame {frame['frame']}" if is_frame else frame["file"]
        moved = f", moved to {frame['moved_to']}" if "moved_to" in frame else ""
        print_line(f"{where}: {frame['reason']}{moved}")
    for problem in report["layout"]:
        print_line(f"warning: {problem['path']} {problem['what']}: {problem['breaks']}")
    samples = report["samples"]
    read = [f"{report['frames']} frames"] if report["frames"] or not samples["tracks"] else []
    if samples["tracks"]:
        tracks = "a track" if samples["tracks"] == 1 else f"{samples['tracks']} tracks"
        read.append(f"{samples['count']} samples of {tracks}{'' if samples['checked'] else ' without checksums'}")
    print_line(f"{path}: {', '.join(read)}, {len(broken) or 'none'} broken")


# ---------------------------------------------------------------------------------------------------------------- merge


MERGE = """\
Bring labelled data directories together in one; or several .mkv, .h5 or .features.h5 files in one file.

Frames of files follow each other, session after session, as they are stored: no picture is encoded anew, and sensors
and sound, times, hosts and labels go along. All files have one size, one codec and the same tracks. What is in OUT
already is not added again: the same command, with more files, adds these. What is being recorded or uploaded, or has
no end, is left out until it has one.
"""


def merge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", type=Path, help="a directory or file to merge into; it may exist already")
    parser.add_argument("inputs", metavar="IN", type=Path, nargs="+", help="a directory or file; not changed")
    parser.add_argument(
        "--link",
        choices=("hard", "copy"),
        default="hard",
        help="hard: link the frames, which takes no space (default; copies where links can't be made); "
        "copy: for directories that other programs edit pictures in",
    )
    parser.add_argument("--unlabelled", action="store_true", help="also merge frames without a class, as of files")


def merge(args: argparse.Namespace) -> int:
    from storage.formats.table import find_format

    return _merge_files(args) if find_format(args.out).suffix else _merge_directories(args)


def _merge_files(args: argparse.Namespace) -> int:
    from storage.care.manifest import why_unfinished
    from storage.care.merge_files import merge_files

    # A part of a session in OUT would be in the way of the whole of it.
    unfinished = dict[Path, str]()
    for path in args.inputs:
        with suppress(StorageError):  # merging says so, better
            if path.exists() and (reason := why_unfinished(path)) is not None:
                unfinished[path] = reason
    args.inputs = [path for path in args.inputs if path not in unfinished]
    for path, reason in unfinished.items():
        print_line(f"{path} is left out: it {reason}", file=sys.stderr)
    if not args.inputs and not args.out.exists():
        return fail(f"{args.out} was not made: none of the recordings is finished")
    with progress_line(f"merging into {args.out}") as progress:
        merged = merge_files(args.out, args.inputs, progress=progress)
    if args.json:
        print_json(
            {
                "path": str(args.out),
                "added": dict(merged.counts),
                "sessions": merged.sessions,
                "present": merged.present,
                "conflicts": [{"file": str(path), "reason": reason} for path, reason in merged.conflicts],
                "notes": merged.notes,
                "unfinished": {str(path): reason for path, reason in unfinished.items()},
            }
        )
        return 3 if merged.conflicts else 0
    for note in merged.notes:
        print_line(f"note: {note}", file=sys.stderr)
    for path, reason in merged.conflicts:
        print_line(f"{path}: {reason}")
    print_line(
        f"{args.out}: {merged.counts.total()} frames of {merged.sessions} sessions added "
        f"({_counted(merged.counts, args.out)}), {merged.present} were there already"
    )
    return 3 if merged.conflicts else 0


def _counted(counts: Counter[str], out: Path) -> str:
    """Frames by their classes."""
    from storage.labels.classes import names_beside

    called = names_beside(out)
    added = (
        f"{shown_class(name, called)} {count}" if name else f"{count} without a class"
        for name, count in sorted(counts.items())
    )
    return ", ".join(added) or "none"


def _merge_directories(args: argparse.Namespace) -> int:
    from storage.care.merge import merge
    from storage.labels.current import labels_wait_beside

    for name in (printable(str(directory)) for directory in args.inputs if labels_wait_beside(directory)):
        print_line(
            f"{name}: labels that wait there don't go along; S in 'python -m classify {name}' applies them first",
            file=sys.stderr,
        )
    for directory in args.inputs:
        report_left_out(directory)
        report_held_out(directory)
    with progress_line(f"merging into {args.out}") as progress:
        merged = merge(args.out, args.inputs, link=args.link == "hard", unlabelled=args.unlabelled, progress=progress)
    if args.json:
        print_json(
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
        print_line(f"{path} was left out: it {reason}")
    for directory, count in merged.left_out.items():
        if count:
            print_line(
                f"{directory}: {count} frames without a class were left out; --unlabelled takes them too",
                file=sys.stderr,
            )
    print_line(
        f"{args.out}: {merged.linked + merged.copied} frames added ({_counted(merged.counts, args.out)}), "
        f"{merged.linked} linked, {merged.copied} copied, {merged.present} were there already"
    )
    return 3 if merged.conflicts else 0


# ---------------------------------------------------------------------------------------------------------------- split

SPLIT = """\
Move whole stretches of time from DIR to val_DIR beside it, for validation.

Frames next to each other are near copies: if they are split at random, a network is tested on what it
has seen. So whole stretches are held out, and the frames within --gap seconds of them are in neither
directory: they go to gap_DIR, with their classes. --undo brings everything back.

With --by all frames of some hosts, sessions or recordings are held out: no other frame of these is left in
DIR. Then --gap counts between frames of one host, and frames that don't say where they are from go to gap_DIR.
"""


def split_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a labelled data directory")
    parser.add_argument(
        "--by", choices=("host", "session", "recording"), help="hold out all frames of some of these, not stretches"
    )
    parser.add_argument("--val", metavar="SHARE", type=share, default=0.1, help="share to hold out (default: 0.1)")
    parser.add_argument(
        "--gap",
        metavar="SECONDS",
        type=duration,
        default=2.0,
        help="leave out frames this near to the other side (default: 2)",
    )
    parser.add_argument(
        "--stretch",
        metavar="SECONDS",
        type=duration_above_0,
        help="length of a stretch (default: as long as the classes allow)",
    )
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="choose other stretches (default: 0)")
    parser.add_argument("--allow-missing", action="store_true", help="go on if a class would be missing on one side")
    parser.add_argument("--dry-run", action="store_true", help="show what would be moved, and move nothing")
    parser.add_argument("--undo", action="store_true", help="undo the split")


def split(args: argparse.Namespace) -> int:
    from storage.care.split import complete_split, is_split, split, undo_split
    from storage.labels.classes import names_beside

    if args.undo:
        moved = undo_split(args.directory)
        content = {"path": str(args.directory), "moved_back": moved.count, "missing": moved.missing}
        report_done(args, content, f"{args.directory}: {moved.count} frames are back")
        return _report_missing(moved.missing)
    completed = None if args.dry_run else complete_split(args.directory)
    if completed is not None:
        what = "split" if is_split(args.directory) else "undoing"
        content = {"path": str(args.directory), "completed": completed.count, "missing": completed.missing}
        report_done(args, content, f"{args.directory}: the {what} that was interrupted is complete now")
        return _report_missing(completed.missing)
    if args.by is not None and args.stretch is not None:
        return fail("--stretch is for a split without --by", 2)
    report_left_out(args.directory)
    result = split(
        args.directory,
        by=args.by,
        val=args.val,
        gap=args.gap,
        stretch=args.stretch,
        seed=args.seed,
        allow_missing=args.allow_missing,
        dry_run=args.dry_run,
    )
    if args.json:
        called = names_beside(result.data_dir)
        print_json(
            {
                "train": str(result.data_dir),
                "val": str(result.val_dir),
                "gap": str(result.gap_dir),
                "classes": {
                    label: {"name": called.get(label, label)} | dict(zip(("train", "val", "gap"), counts, strict=True))
                    for label, counts in result.counts.items()
                },
                "by": args.by or "stretch",
                "stretch_seconds": result.stretch,
                "stretches": result.held_out if args.by is None else None,
                "held_out": result.groups,
                "moved": not args.dry_run,
                "notes": result.notes,
            }
        )
    else:
        _report_split(result, args)
    return 0


def _report_split(result: Split, args: argparse.Namespace) -> None:
    from storage.labels.classes import names_beside

    called = names_beside(result.data_dir)
    rows = {shown_class(name, called): counts for name, counts in result.counts.items()}
    totals = [sum(counts[side] for counts in result.counts.values()) for side in range(3)]
    width = max(8, *map(len, rows))
    print_line(f"  {'class':{width}}  {'train':>8}  {'val':>8}  {'gap':>8}  {'val %':>5}")
    for name, counts in [*rows.items(), ("all", totals)]:
        share = 100 * counts[1] / max(1, sum(counts))
        print_line(f"  {name:{width}}  {counts[0]:8}  {counts[1]:8}  {counts[2]:8}  {share:5.1f}")
    one = result.held_out == 1
    if result.stretch is not None:
        held_out = f"{result.held_out} {'stretch' if one else 'stretches'} of about {result.stretch:g} s"
    else:
        held_out = f"{result.held_out} {args.by}{'' if one else 's'}: {', '.join(result.groups)}"
    near = f"what lies within {args.gap:g} s of {'it' if one else 'them'}"
    print_line(f"{result.val_dir}: {held_out}" + (f"; {result.gap_dir}: {near}" if totals[2] else ""))
    for note in result.notes:
        print_line(f"note: {note}", file=sys.stderr)
    if args.dry_run:
        print_line("nothing was moved")


def _report_missing(missing: Sequence[str]) -> int:
    for path in missing:
        print_line(f"{path} is not there any more", file=sys.stderr)
    return 3 if missing else 0


COMMANDS = (
    Command("info", "what is there: classes, counts, sizes, times", info_arguments, info),
    Command("verify", "is every frame whole, and the layout right?", verify_arguments, verify),
    Command("merge", "several directories into one, or several files", merge_arguments, merge, MERGE),
    Command("split", "hold out whole stretches of time for validation", split_arguments, split, SPLIT),
)
