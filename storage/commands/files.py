"""The commands that make a new file or directory: extract, convert, features, merge-streams, export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from storage.commands.console import (
    Command,
    count,
    duration,
    duration_above_0,
    fail,
    offset,
    positive,
    print_json,
    print_line,
    progress_line,
    report_done,
    report_held_out,
    report_left_out,
    report_tracks,
    track_argument,
)
from storage.names import printable

# -------------------------------------------------------------------------------------------------------------- extract

EXTRACT = """\
Write the frames of a recording, or of any video that a phone or another program made, as PNG files.

They keep their times and their numbers, and go into the directories of their classes if they have one.
Interrupted, the same command goes on; what is there already stays as it is.
"""


def extract_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a recording, or any video")
    parser.add_argument("directory", metavar="DIR", type=Path, help="a new data directory, or one begun from there")
    track_argument(parser)
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--every", metavar="N", type=count, help="only every N-th frame")
    some.add_argument("--fps", metavar="N", type=positive, help="only N frames a second, by their own times")
    parser.add_argument(
        "--from", dest="start", metavar="S", type=duration, help="begin at S seconds, as a player shows them"
    )
    parser.add_argument("--to", dest="end", metavar="S", type=duration_above_0, help="end at S seconds")
    parser.add_argument("--labelled", action="store_true", help="only frames that have a class")


def extract(args: argparse.Namespace) -> int:
    from storage.convert.extract import extract

    report_tracks(args.source, args.track)
    report_left_out(args.source)
    report_held_out(args.source)
    with progress_line(f"extracting {args.source}") as progress:
        done = extract(
            args.source,
            args.directory,
            track=args.track,
            every=args.every,
            fps=args.fps,
            start=args.start,
            end=args.end,
            labelled=args.labelled,
            progress=progress,
        )
    there = f", {done.present} were there already" if done.present else ""
    content = {"path": str(args.directory), "written": done.written, "present": done.present}
    report_done(args, content, f"{args.directory}: {done.written} frames written{there}")
    return 0


# -------------------------------------------------------------------------------------------------------------- convert

SEEN_NS = 1_000_000  # in which times of label files differ

CONVERT = """\
Make a recording in another format, chosen by the name: a directory (PNG files), .h5, .mkv; or .mp4 and
.mov, H.264 in yuv420p, for other programs. Frames, times, labels and what is known of the sessions go
along; labels of .mp4 and .mov into a table beside them. Sensors and sound that were recorded stay in
IN. IN may also be a directory of pictures from elsewhere, or any video, whose sound goes into .mp4.
"""


def convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="a recording, pictures or any video; not changed")
    parser.add_argument("target", metavar="OUT", type=Path, help="what to make; must not be there yet")
    track_argument(parser)
    parser.add_argument("--fps", metavar="N", type=positive, help="give the frames new times, N a second")
    parser.add_argument("--codec", metavar="NAME", help="for .mkv: ffv1 (default), h264-lossless, h264, mjpeg")
    parser.add_argument(
        "--crf", metavar="N", type=int, help="quality of h264: 1 (best) to 51 (default: 18); .mp4 takes 0, too"
    )


def convert(args: argparse.Namespace) -> int:
    from storage.convert.convert import convert

    report_tracks(args.source, args.track)
    report_left_out(args.source)
    report_held_out(args.source)
    with progress_line(f"converting {args.source}") as progress:
        frames = convert(
            args.source,
            args.target,
            track=args.track,
            fps=args.fps,
            codec=args.codec,
            crf=args.crf,
            progress=progress,
        )
    report_done(args, {"path": str(args.target), "frames": frames}, f"{args.target}: {frames} frames")
    left_out, begins_ns = _left_out_and_begin(args)
    if left_out:
        of_source = f"{', '.join(left_out)} of {args.source}: not copied, as convert takes pictures and labels"
        print_line(f"{of_source}; python -m storage export makes files of sensors and sound", file=sys.stderr)
    if begins_ns >= SEEN_NS and args.fps is None:
        begins = f"begins with the first picture, {begins_ns / 1e9:.3f} s into {args.source}"
        print_line(f"{args.target} {begins}: label files in seconds fit the one or the other", file=sys.stderr)
    return 0


def _left_out_and_begin(args: argparse.Namespace) -> tuple[list[str], int]:
    """The names of the tracks of sensors and sound that were not copied, and the first picture's own time."""
    from storage.convert.convert import sound_goes_along
    from storage.formats.movie.writer import SUFFIXES
    from storage.formats.table import open_recording
    from storage.tracks.demux import read_tracks

    with open_recording(args.source, track=args.track) as recording:
        names = [one.name for one in recording.tracks]
        if args.target.suffix.lower() in SUFFIXES and sound_goes_along(recording, args.fps):
            sound = next((one.name for one in read_tracks(args.source) if one.kind == "sound"), None)
            names = [name for name in names if name != sound]
        return names, next(iter(recording.shown_ns), 0) if recording.has_times else 0


# ------------------------------------------------------------------------------------------------------------- features

FEATURES = """\
Compute MobileNet's features of a recording, 256 numbers a frame, as recording to .features.h5 would
have. Labels, times and what is known of the sessions go along.
"""


def features_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="a recording, or any video; not changed")
    parser.add_argument("target", metavar="OUT.features.h5", type=Path, help="what to make; must not be there yet")
    track_argument(parser)
    parser.add_argument(
        "--weights", metavar="FILE", default="imagenet", help="imagenet (default), or .tflite, .keras, .weights.h5, .pb"
    )


def features(args: argparse.Namespace) -> int:
    from storage.convert.convert import convert

    if not args.target.name.lower().endswith(".features.h5"):
        return fail(f"{args.target}: features go into a .features.h5 file, such as {args.source.stem}.features.h5", 2)
    report_tracks(args.source, args.track)
    with progress_line(f"computing features of {args.source}") as progress:
        frames = convert(args.source, args.target, track=args.track, weights=args.weights, progress=progress)
    report_done(args, {"path": str(args.target), "frames": frames}, f"{args.target}: {frames} frames")
    return 0


# -------------------------------------------------------------------------------------------------------- merge-streams

MERGE_STREAMS = """\
Bring pictures, sound, sensors and labels of several files together in one Matroska file, as they are.

Each file is put where it belongs in the first one's time: by --offset if you give one, by what both saw
(--sync-on), or by the wall clock where both know it. Files of labels (.srt, .vtt, .ass) count from the
first file's begin. A report says what was found, and how far off it may be.
"""


def merge_streams_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT.mkv", type=Path, help="what to make; must not be there yet")
    parser.add_argument("inputs", metavar="IN", type=Path, nargs="+", help="a recording, video, sound, labels")
    parser.add_argument(
        "--offset",
        metavar="NAME=SECONDS",
        type=offset,
        action="append",
        default=[],
        help="this file begins so many seconds after the first one (or before it: NAME=-1.5)",
    )
    parser.add_argument(
        "--sync-on",
        choices=("flash", "click", "cross-correlation"),
        help="find the others by a flash in the pictures, a click in sound or sensors, or the whole of the sound",
    )


def merge_streams(args: argparse.Namespace) -> int:
    from storage.streams.merge import merge_streams

    with progress_line(f"merging into {args.out}", " s") as progress:
        merged = merge_streams(
            args.out, args.inputs, offsets=dict(args.offset), sync_on=args.sync_on, progress=progress
        )
    if args.json:
        print_json(
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
                        "drift_ppm": None if one.drift is None else round(one.drift * 1e6, 1),
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
        note = f" ({one.note})" if one.note else ""
        print_line(f"  {printable(one.path.name):{width}}  {one.offset_ns / 1e9:+12.4f} s  {one.how}{off}{note}")
    for path, track in merged.left_out:
        print_line(f"{path}: track {track.number} was left out: it is no picture, sound or text", file=sys.stderr)
    if merged.begin_seconds:
        print_line(f"  all moved by {merged.begin_seconds:.4f} s, so that nothing comes before 0")
    names = ", ".join(printable(name) for _, _, name in merged.tracks)
    print_line(f"{args.out}: {merged.seconds:.1f} s, {len(merged.tracks)} tracks: {names}")
    return 0


# --------------------------------------------------------------------------------------------------------------- export

EXPORT = """\
Write the tracks of a Matroska or other media file as files that any program reads: frames as PNG files,
sensors as CSV and NPY, sound as WAV, labels as CSV. All have times: seconds of the file's own time, and
since 1970 where the recorder noted the wall clock. Interrupted, the same command goes on; what is there
already stays as it is.
"""


def export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN.mkv", type=Path, help="a recording, or any video or sound")
    parser.add_argument("directory", metavar="DIR", type=Path, help="a new directory, or one begun from there")
    parser.add_argument(
        "--only",
        choices=("frames", "sensors", "sound", "labels"),
        action="append",
        help="only these tracks; may be given several times",
    )


def export(args: argparse.Namespace) -> int:
    from storage.streams.export import export

    with progress_line(f"exporting {args.source}") as progress:
        done = export(args.source, args.directory, only=args.only or (), progress=progress)
    damaged = {one.track: count for one in done if (count := one.facts.get("damaged_blocks"))}
    for track, count in damaged.items():
        what = "1 damaged block" if count == 1 else f"{count} damaged blocks"
        print_line(f"{args.source}: {what} of {printable(track)} left out; verify says more", file=sys.stderr)
    status = 3 if damaged else 0
    if args.json:
        rows = [
            {"file": one.file, "track": one.track, "count": one.count, "begin": one.begin, "new": one.new, **one.facts}
            for one in done
        ]
        print_json({"path": str(args.directory), "files": rows})
        return status
    width = max((len(printable(one.file)) for one in done), default=0)
    for one in done:
        there = "" if one.new else ", was there already"
        print_line(f"  {printable(one.file):{width}}  {one.count:9}  from {one.begin:.3f} s on{there}")
    if done:
        print_line(f"{args.directory}: {len(done)} of {args.source}'s tracks as files")
    else:
        print_line(f"{args.source} has no such tracks")
    return status


COMMANDS = (
    Command("extract", "frames of a recording or any video as PNG files", extract_arguments, extract, EXTRACT),
    Command("convert", "a recording into another format", convert_arguments, convert, CONVERT),
    Command("features", "256 numbers of each frame, by MobileNet", features_arguments, features, FEATURES),
    Command("export", "the tracks of a file as PNG, CSV, NPY and WAV files", export_arguments, export, EXPORT),
    Command("merge-streams", "several files into one, aligned", merge_streams_arguments, merge_streams, MERGE_STREAMS),
)
