"""``python -m pi_capture watch``: classifies what a camera sees, and acts on it."""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi_capture.arguments import OPTIONS
from pi_capture.config import PREFIX, Kind, Option, configure
from pi_capture.errors import RecordingError, UsageError
from pi_capture.recording import HOLD_SECONDS
from pi_capture.report.systemd import StopSignals
from pi_capture.watch.report import JsonLines, Lines, OneLine, Quiet, Report
from storage.commands.console import Parser, fail, print_line

if TYPE_CHECKING:
    from pi_capture.live.preview import Preview
    from pi_capture.recording.verdicts import Verdict
    from storage.frame import Frame
    from storage.learn.classifier import Classifier

DESCRIPTION = """\
Say what a camera sees: the class, how certain it is, and the rate, in the terminal, until Ctrl-C.

MODEL is a .model file. It may also be a .tflite file from Teachable Machine, Edge Impulse or TensorFlow, with
labels.txt in it or beside it. --camera file:PATH watches a video or a recording instead; if that has labels,
they are compared.
"""
EPILOG = """\
examples:
  python -m pi_capture watch day1.model
  python -m pi_capture watch day1.model --on door='python lamp.py on' --on none='python lamp.py off'
  python -m pi_capture watch day1.model --camera file:day2.mkv
  python -m pi_capture watch model_unquant.tflite --preview --size 640x480

A COMMAND finds the class in $PI_CAPTURE_CLASS and its certainty in $PI_CAPTURE_CERTAINTY. It is started without a
shell, and not a second time while it still runs. Watching goes on meanwhile. When this program ends, so does COMMAND.

exit status: 0 watched; 1 failed; 2 wrong usage
"""


def _pixels(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"(-?[\d.]+)\.\.(-?[\d.]+)", text)
    try:
        black, white = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    except ValueError:
        black = white = 0.0
    if black >= white:
        raise argparse.ArgumentTypeError(f"{text!r}: give what black and white are, such as -1..1, 0..1 or 0..255")
    return black, white


def _of_the_recorder(name: str, **changes: Any) -> Option:
    option = next(option for option in OPTIONS if option.name == name)
    return replace(option, group="", **changes)


WATCH_OPTIONS = (
    Option("model", "a .model or .tflite file", "MODEL", Kind.POSITIONAL),
    _of_the_recorder("seconds", help="how long to watch (default: -1, until Ctrl-C)", default=-1),
    _of_the_recorder("camera", help="what to watch: as for recording, or file: with any recording"),
    _of_the_recorder("size", help="size of the frames (default: what the model looks at)", default=None),
    _of_the_recorder("fps"),
    _of_the_recorder("focus"),
    _of_the_recorder("hdr"),
    _of_the_recorder("hold", help=f"seconds that a class must lead before it counts (default: {HOLD_SECONDS})"),
    Option(
        "on",
        "run COMMAND when CLASS begins; may be given several times. A file is then played at its own speed",
        "CLASS=COMMAND",
        Kind.LIST,
    ),
    Option(
        "pixels",
        "the numbers for black and white that a .tflite file of floats wants (default: -1..1)",
        "LOW..HIGH",
        type=_pixels,
    ),
    _of_the_recorder("preview"),
    _of_the_recorder("retry"),
    _of_the_recorder("between", help="watch only between these times, local time, also over midnight"),
    _of_the_recorder("identity"),
    Option("json-lines", "print a line of JSON a frame on stdout, then a summary", kind=Kind.SWITCH),
    Option("quiet", "no class in the terminal", kind=Kind.SWITCH),
)
NOT_WITH_FILES = {"size", "fps", "focus", "hdr", "retry", "between", "identity"}


def main(words: Sequence[str]) -> int:
    """``watch``; returns the exit status."""
    args, given = _parse(words)
    from pi_capture.watch.reactions import Reactions
    from storage.learn.classifier import open_classifier

    classifier = open_classifier(args.model, args.pixels)
    report = _report(args)
    stop = threading.Event()
    with StopSignals(stop), Reactions(args.on, classifier.classes, report.say) as reactions:
        watch = _Watch(args, classifier, report, reactions.react, stop)
        with watch.preview():
            try:
                if args.camera.startswith("file:"):
                    watch.file(Path(args.camera.removeprefix("file:")), paced=bool(reactions) or args.preview)
                else:
                    watch.camera(args, None if "size" in given else classifier.size)
            finally:
                report.close()
    return watch.end()


def _parse(words: Sequence[str]) -> tuple[argparse.Namespace, set[str]]:
    """The arguments, and the names of those that were given. Raises UsageError."""
    parser = Parser(
        prog="python -m pi_capture watch",
        usage="%(prog)s MODEL [SECONDS] [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for option in WATCH_OPTIONS:
        option.add(parser.add_argument)
    ours = {f"{PREFIX}{option.name.upper().replace('-', '_')}" for option in WATCH_OPTIONS}
    environment = {name: text for name, text in os.environ.items() if name in ours}
    configuration = configure(parser, WATCH_OPTIONS, words, environment)
    args = configuration.arguments
    if not args.model:
        parser.error("MODEL is needed, such as: python -m pi_capture watch day1.model")
    _check_camera(args, {one.option.name for one in configuration.settings if one.origin == "flag"})
    return args, {one.option.name for one in configuration.settings if one.origin != "default"}


def _check_camera(args: argparse.Namespace, typed: set[str]) -> None:
    """Give a ``tls://`` its identity. Raises UsageError for what has no effect."""
    from pi_capture.network.address import several_senders, with_identity

    if args.camera.startswith("file:") and (useless := sorted(typed & NOT_WITH_FILES)):
        raise UsageError(f"--{useless[0]} does nothing with --camera file:PATH; leave it out")
    (args.camera,) = with_identity([args.camera], args.identity)
    if several_senders(args.camera) is not None:
        raise UsageError("--camera with senders= is for recording; watch one sender, without it")


def _report(args: argparse.Namespace) -> Report:
    if args.json_lines:
        return JsonLines(wait=args.camera.startswith("file:"))
    if args.quiet:
        return Quiet()
    return OneLine() if sys.stdout.isatty() else Lines()


class _Watch:
    """A camera or a file, a classifier, and all that is told of it."""

    def __init__(
        self,
        args: argparse.Namespace,
        classifier: Classifier,
        report: Report,
        react: Callable[[Verdict], None],
        stop: threading.Event,
    ) -> None:
        from pi_capture.recording.verdicts import Watching
        from pi_capture.watch.score import Score

        self._args, self._report, self._react, self._stop = args, report, react, stop
        self._watching = Watching(classifier, args.hold, self._told)
        self._score = Score(classifier.classes)
        self._counts: Counter[str | None] = Counter()
        self._milliseconds = 0.0
        self._began: float | None = None
        self._preview: Preview | None = None
        self._failure: RecordingError | None = None

    @contextmanager
    def preview(self) -> Iterator[None]:
        if not self._args.preview:
            yield
            return
        from pi_capture.live.preview import Preview

        with Preview(self._args.model, self._report.say, what="watching") as self._preview:
            yield

    def camera(self, args: argparse.Namespace, size: tuple[int, int] | None) -> None:
        """Watch a camera; `size` is that of the frames, None for the one that was asked for."""
        from pi_capture.network.address import exposed
        from pi_capture.recording.capture import deliver
        from pi_capture.recording.observers import Observers
        from pi_capture.recording.options import RecordOptions
        from pi_capture.watch.sink import WatchSink

        options = RecordOptions(
            camera=args.camera, size=size or args.size, fps=args.fps, focus=args.focus, hdr=args.hdr,
            retry=args.retry, between=args.between, jitter=False,
        )  # fmt: skip
        observers = Observers(stop=self._stop, say=self._report.say, watch=lambda frame, _: self._show(frame))
        if (line := exposed(args.camera)) is not None:
            self._report.say(line)
        try:
            deliver(WatchSink(self._watching), args.seconds, options, observers)
        except RecordingError as error:
            self._failure = error

    def file(self, path: Path, *, paced: bool) -> None:
        """Watch a video or a recording, as fast as it can be read unless `paced`."""
        from storage import open_recording
        from storage.labels.classes import names_of_labels
        from storage.labels.current import labels_as_they_stand

        with open_recording(path) as recording:
            names, times = names_of_labels(recording), recording.timestamps_ns
            began = time.monotonic()
            for index, label in enumerate(labels_as_they_stand(recording)):
                passed = (times[index] - times[0]) / 1e9
                if paced:
                    self._stop.wait(began + passed - time.monotonic())
                if self._stop.is_set() or 0 <= self._args.seconds <= passed:
                    break
                frame = self._watching.noted(recording.read(index), wait=True)
                if self._watching.failure is not None or (verdict := self._watching.last) is None:
                    break
                if label is not None:
                    self._score.add(names.get(label, label), verdict)
                self._show(frame)
        self._watching.close()

    def end(self) -> int:
        """Tell how it went; returns the exit status."""
        if isinstance(self._watching.failure, BrokenPipeError):
            raise self._watching.failure
        seen, skipped = self._watching.seen, self._watching.skipped
        passed = 0.0 if self._began is None else time.monotonic() - self._began
        facts: dict[str, Any] = {
            "frames": seen,
            "skipped": skipped,
            "seconds": round(passed, 2),
            "milliseconds": round(self._milliseconds / seen, 2) if seen else None,
            "classes": {name: count for name, count in self._counts.items() if name is not None},
        }
        if self._score.frames:
            facts.update(self._score.facts)
        if isinstance(self._report, JsonLines):
            self._report.end(facts)
        else:
            print_line(_as_text(facts), sys.stderr)
            if self._score.frames:
                for line in self._score.lines():
                    print_line(line)
        failure = self._failure or next(iter(self._watching.problems), None)
        return 0 if failure is None else fail(failure, 1, "pi_capture")

    def _told(self, frame: Frame, verdict: Verdict) -> None:
        self._began = self._began or time.monotonic()
        self._counts[verdict.name] += 1
        self._milliseconds += verdict.milliseconds
        self._report.show(verdict)
        self._react(verdict)

    def _show(self, frame: Frame) -> None:
        if self._preview is not None:
            last = self._watching.last
            self._preview.show_text("…" if last is None else last.shown)
            self._preview.show(frame)


def _as_text(facts: dict[str, Any]) -> str:
    rate = f" ({facts['frames'] / facts['seconds']:.1f} a second)" if facts["seconds"] else ""
    each = "" if facts["milliseconds"] is None else f", {facts['milliseconds']:.1f} ms each"
    classes = ", ".join(f"{name} {count}" for name, count in sorted(facts["classes"].items()))
    skipped = f", {facts['skipped']} skipped" if facts["skipped"] else ""
    return f"{facts['frames']} frames in {facts['seconds']:.1f} s{rate}{each}{skipped}: {classes or 'no class'}"
