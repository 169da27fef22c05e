"""``python -m storage labels``: show, export and import the labels of a recording (see `storage.labels.exchange`)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from storage.commands.console import Command, print_json, print_line, report_done, report_tracks, track_argument

LABELS = """\
Show the labels of a recording as intervals, write them to a file, or take them from one.

Files are .srt, .vtt and .ass (subtitles), .csv (start,end,class in seconds), and .txt and .tsv as Audacity
writes label tracks; tables that ELAN exports are read too. Times are those that a player
shows; where a recording is no video, they count from the first frame on.
Frames without a label get the imported one; --replace first takes all labels away. The labels of a data
directory wait for python -m classify, which shows them and sorts the frames with S.
"""


def labels_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", type=Path, help="a recording, or any video")
    track_argument(parser)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--export", metavar="FILE", type=Path, help="write the labels to a new file")
    either.add_argument("--import", dest="source", metavar="FILE", type=Path, help="label the frames as a file says")
    parser.add_argument("--replace", action="store_true", help="with --import: remove the present labels first")


def labels(args: argparse.Namespace) -> int:
    from storage.errors import StorageError
    from storage.labels.exchange import export_labels, find_intervals, import_labels

    path: Path = args.recording
    if args.replace and args.source is None:
        raise StorageError("--replace goes with --import")
    report_tracks(path, args.track)
    if args.source is not None:
        done = import_labels(path, args.source, replace=args.replace, track=args.track)
        if not args.json:
            for line in done.empty:
                print_line(f"{args.source}: line {line}: no frame was taken then", file=sys.stderr)
            for one, other in done.alike:
                what = f"{one!r} and {other!r} are two classes now; if they are one, write one name and import again"
                print_line(f"{args.source}: {what}, with --replace", file=sys.stderr)
        content = {
            "path": str(path),
            "labelled": done.labelled,
            "changed": done.changed,
            "removed": done.removed,
            "saved": done.saved,
        }
        content |= {"empty_lines": done.empty, "waiting": done.waiting}
        next_step = f"; look through them, and sort them with S: python -m classify {path}" if done.waiting else ""
        changed = f"{done.changed - done.removed} frames got a new label"
        changed += f", {done.removed} lost theirs" if done.removed else ""
        changed += f", {done.labelled} have a label now"
        changed += f", {done.saved} that waited are saved" if done.saved else ""
        report_done(args, content, f"{path}: {changed}{next_step}")
        return 0
    if args.export is not None:
        count = export_labels(path, args.export, track=args.track)
        report_done(args, {"path": str(args.export), "intervals": count}, f"{args.export}: {count} intervals")
        return 0
    found = find_intervals(path, track=args.track)
    if args.json:
        rows = [{"start": each.start_ns / 1e9, "end": each.end_ns / 1e9, "class": each.label} for each in found]
        print_json({"path": str(path), "intervals": rows})
        return 0
    for each in found:
        print_line(f"{each.start_ns / 1e9:12.3f} {each.end_ns / 1e9:12.3f}  {each.label}")
    return 0


COMMANDS = (Command("labels", "labels as intervals: subtitles, ELAN, Audacity", labels_arguments, labels, LABELS),)
