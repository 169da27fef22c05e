"""The command that learns from labels: train."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from storage.commands.console import Command, print_json, progress_line, seed
from storage.errors import OptionError
from storage.names import printable

if TYPE_CHECKING:
    from storage.learn.report import Report
    from storage.learn.training import Progress

SHOWN = 10  # mistakes; --sheet and --json have more
TOLD_SECONDS = 0.1  # between two lines of --json-lines

TRAIN = """\
Train a model on the labelled frames of recordings, of any formats, and say how good it is: on val_day1
where that is beside day1, else on stretches that are held out in turn. It takes seconds, and no
TensorFlow. The model is one file with all that running it needs:
python -m pi_capture watch day1.model
"""


def train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", metavar="RECORDING", type=Path, nargs="+", help="a labelled recording")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="the model (default: RECORDING.model)")
    parser.add_argument("--replace", action="store_true", help="replace the model that is there")
    parser.add_argument("--sheet", metavar="OUT.png", type=Path, help="also draw the frames that it takes for others")
    parser.add_argument(
        "--network",
        choices=("mobilenet", "cnn"),
        default="mobilenet",
        help="mobilenet (default): a head on its features, in seconds; cnn: a small network on the pixels, by Keras",
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="of the network: .tflite, .keras, .weights.h5, .pb (default: ImageNet's)"
    )
    parser.add_argument(
        "--seen-only", action="store_true", help="leave out labels that a model gave and no person has seen"
    )
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="another number holds out other stretches")
    parser.add_argument(
        "--json-lines",
        action="store_true",
        help="print the progress as lines of JSON, then what --json prints",
    )


def train(args: argparse.Namespace) -> int:
    # A head's products are narrow: several threads of numpy's library wait for each other longer than they compute.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from storage.drawing import Subject, refuse_existing
    from storage.learn.mistakes import write_sheet
    from storage.learn.model import SUFFIX, check_target, write_model

    out = args.out or _beside(args.recordings[0], SUFFIX if args.network == "mobilenet" else ".tflite")
    check_target(out, replace=args.replace)
    if args.network == "cnn" and args.weights is not None:
        raise OptionError("--weights goes with --network mobilenet")
    drawn = Subject("sheet of mistakes", args.recordings)
    if args.sheet is not None:
        refuse_existing(args.sheet, drawn)
        _refuse_features(args.recordings)
    with _progress(args, f"training {out.name}") as progress:
        data, report = _train(args, progress)
    write_model(out, data, replace=args.replace)
    if args.sheet is not None:
        write_sheet(args.sheet, report.mistakes, drawn)
    if args.json or args.json_lines:
        from hashlib import sha256

        print_json({"path": str(out), "sha256": sha256(data).hexdigest(), **_facts(report)})
    else:
        print("\n".join(map(printable, [*_lines(report), f"{out}: {len(data) / 1e3:.0f} kB"])))
    return 0


@contextmanager
def _progress(args: argparse.Namespace, title: str) -> Iterator[Progress | None]:
    """Tells how much is done: in lines of JSON, or on a terminal's line."""
    if args.json_lines:
        yield _lines_of_json()
        return
    with progress_line(title, "") as show:
        yield None if show is None else lambda what, done, total: show(done, total)


def _lines_of_json() -> Progress:
    import json

    due = 0.0

    def show(what: str, done: int, total: int) -> None:
        nonlocal due
        if (now := time.monotonic()) >= due:
            due = now + TOLD_SECONDS
            print(json.dumps({"event": "progress", "what": what, "done": done, "total": total}), flush=True)

    return show


def _refuse_features(paths: Sequence[Path]) -> None:
    """Raise StorageError if a recording has no pictures to draw."""
    from storage.formats.table import open_recording

    for path in paths:
        with open_recording(path) as recording:
            if not recording.has_pictures:
                recording.read(0)  # it says so


def _train(args: argparse.Namespace, progress: Progress | None) -> tuple[bytes, Report]:
    """What the model file is to hold, and the report."""
    if args.network == "cnn":
        from storage.learn.network import train_network

        return train_network(args.recordings, seen_only=args.seen_only, seed=args.seed, progress=progress)
    from storage.learn.training import train

    model, report = train(
        args.recordings, weights=args.weights, seen_only=args.seen_only, seed=args.seed, progress=progress
    )
    return model.data, report


def _beside(recording: Path, suffix: str) -> Path:
    """The model's name by default: that of the recording, with another end."""
    name = recording.resolve().name if not recording.name else recording.name
    if not recording.is_dir():
        name = name.removesuffix(".features.h5") if name.endswith(".features.h5") else recording.stem
    return recording.with_name(name + suffix) if recording.name else Path(name + suffix)


def _lines(report: Report) -> list[str]:
    kinds = ", ".join(f"{kind} {right:.3f}" for kind, right in report.by_kind.items())
    return [
        *_table(report),
        *_figures(report),
        f"a frame is described by: {report.kind}" + (f" (on held-out stretches: {kinds})" if kinds else ""),
        *(["taken for another class, the most certain first:"] if report.mistakes else []),
        *(f"  {one.name}: {one.truth} → {one.guess} {one.certainty:.2f}" for one in report.mistakes[:SHOWN]),
        *([f"  and {len(report.mistakes) - SHOWN} more"] if len(report.mistakes) > SHOWN else []),
        *report.advice,
        *(f"note: {note}" for note in report.notes),
        f"{sum(report.frames)} frames learnt in {report.seconds:.1f} s",
    ]


def _figures(report: Report) -> list[str]:
    if report.accuracy is None:
        return [report.tested_on]
    return [
        f"tested on {report.tested_on}:",
        f"{report.accuracy:.3f} of {report.confusion.sum()} frames are right, {report.smoothed:.3f} smoothed over time;"
        f" {report.chance:.3f} is what knowing nothing gets",
    ]


def _table(report: Report) -> list[str]:
    """Frames by their class (rows) and what they were taken for (columns)."""
    width = max(6, *(len(name) for name in report.classes)) + 1
    head = "".join(f"{name:>{width}}" for name in report.classes)
    lines = [f"  {'class':{width}}{head}   right  learnt  stretches"]
    for number, name in enumerate(report.classes):
        row = report.confusion[number]
        right = f"{100 * row[number] / row.sum():.0f} %" if row.sum() else "–"
        cells = "".join(f"{count:{width}}" for count in row)
        lines.append(f"  {name:{width}}{cells}  {right:>6}{report.frames[number]:8}{report.stretches[number]:11}")
    return lines


def _facts(report: Report) -> dict[str, object]:
    from storage.learn.report import rounded

    return {
        "classes": list(report.classes),
        "frames": dict(zip(report.classes, report.frames, strict=True)),
        "stretches": dict(zip(report.classes, report.stretches, strict=True)),
        "tested_on": report.tested_on,
        "accuracy": rounded(report.accuracy),
        "smoothed": rounded(report.smoothed),
        "chance": rounded(report.chance),
        "confusion": report.confusion.tolist(),
        "kind": report.kind,
        "by_kind": {kind: round(right, 4) for kind, right in report.by_kind.items()},
        "mistakes": [
            {
                **{"frame": one.name, "recording": str(one.recording), "index": one.index},
                **{"label": one.truth, "guess": one.guess, "certainty": round(one.certainty, 4)},
            }
            for one in report.mistakes
        ],
        "advice": report.advice,
        "notes": report.notes,
        "seconds": round(report.seconds, 2),
    }


COMMANDS = (Command("train", "a model from labelled recordings, in seconds", train_arguments, train, TRAIN),)
