"""``python -m pi_capture``: the command line of the recorder.

It reads the arguments, shows progress and turns failures into one line and an exit status: 0 recorded, 1 failed with
everything recorded so far safe, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi_capture.arguments import FORMATS, OPTIONS, build_parser
from pi_capture.config import as_toml, configure
from pi_capture.errors import CameraError, PreviewError, RecordingError, UsageError
from pi_capture.report.systemd import ERROR, Notifier, StopSignals, leave_running_threads, priority
from storage.amounts import parse_seconds
from storage.commands.console import fail, print_line, run_command
from storage.commands.standard_streams import open_standard_streams
from storage.names import printable

if TYPE_CHECKING:
    from pi_capture.config import Setting
    from pi_capture.live.labels import LiveLabels
    from pi_capture.live.preview import Preview
    from pi_capture.network.sender import Sender
    from pi_capture.recording.options import RecordOptions
    from pi_capture.report.metrics import Meter
    from pi_capture.report.progress import Progress
    from pi_capture.report.viewers import Viewers
    from pi_capture.status import Status, Summary
    from storage.frame import Frame

COMMANDS: dict[str, str] = {
    "export-model": "pi_capture.commands.weights:export_model",
    "doctor": "pi_capture.commands.doctor:main",
    "install-service": "pi_capture.commands.install:install",
    "uninstall-service": "pi_capture.commands.install:uninstall",
    "make-identity": "pi_capture.network.tls:make_identity",
    "watch": "pi_capture.watch.command:main",
    "studio": "pi_capture.studio.command:main",
}
"""The words that may come instead of a DIRECTORY (``./doctor`` is one): ``module:function``, imported when called.

The function takes the words that follow, and returns the exit status.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recorder's command line, by default that of this process. Returns the exit status."""
    open_standard_streams()
    if arguments is not None:
        return _status_of(list(arguments))
    status = _status_of(sys.argv[1:])
    leave_running_threads(status)
    return status


def _status_of(words: Sequence[str]) -> int:
    return run_command(
        lambda: _run(words),
        _fail,
        about=words[0] if words else "pi_capture",
        interrupted="interrupted",  # before the recording began, or after its end
        usage=(UsageError,),
        failures=(CameraError, PreviewError),
    )


def _run(words: Sequence[str]) -> int:
    if words and words[0] in COMMANDS:
        module, _, function = COMMANDS[words[0]].partition(":")
        status: int = getattr(importlib.import_module(module), function)(words[1:])
        return status
    parser = build_parser()
    configuration = configure(parser, OPTIONS, words, os.environ)
    args = configuration.arguments
    if args.list_cameras:
        return _list_cameras()
    if args.print_config:
        from pi_capture.redact import public

        print(as_toml(configuration.settings))
        addresses = [args.camera, *(args.stream_to or ()), args.mqtt]
        if public(addresses) != addresses:
            print(f"pi_capture: {SECRET_SETTINGS}", file=sys.stderr)
        return 0
    if not args.directory or args.seconds is None:
        parser.error("DIRECTORY and SECONDS are needed, such as: python -m pi_capture day1 -1")
    _check_company(configuration.settings)
    _identify(args)
    return _record(args)


SECRET_SETTINGS = "an address here may hold a password; if this is kept in a file, keep it to yourself: chmod 600 FILE"
OF_ANOTHER = {
    **dict.fromkeys(("pre-roll", "post-roll"), ("on-motion", "on-class")),
    "audio-codec": ("audio",),
    "labels-from": ("live-labels",),
    **dict.fromkeys(("hold", "on-class"), ("watch",)),
}
"""Options that have an effect only with another one, or with one of several."""


def _check_company(settings: Sequence[Setting]) -> None:
    """Raise UsageError for an option that would have no effect, and for a time where a DIRECTORY is expected."""
    given = {one.option.name: one for one in settings if one.origin != "default"}
    directory, seconds = given["directory"], given["seconds"]
    if directory.origin == "flag" != seconds.origin and parse_seconds(directory.value) is not None:
        name = directory.value
        raise UsageError(f"{name} is taken for the DIRECTORY; give one before it, or ./{name} for one of that name")
    for name, others in OF_ANOTHER.items():
        if name in given and not given.keys() & set(others):
            other = " or --".join(others)
            raise UsageError(f"--{name} ({given[name].origin}) does nothing without --{other}; give both, or neither")


def _identify(args: argparse.Namespace) -> None:
    from pi_capture.network.address import with_identity

    args.camera, *args.stream_to = with_identity([args.camera, *(args.stream_to or ())], args.identity)


def _warn(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    from pi_capture.network.address import exposed

    for url in [args.camera, *args.stream_to]:
        if (line := exposed(url)) is not None:
            say(line)


def _asked(args: argparse.Namespace) -> RecordOptions:
    """Return the options of the recorder. Raises UsageError."""
    from pi_capture.recording.options import RecordOptions

    recording = {field.name: getattr(args, field.name) for field in fields(RecordOptions) if field.name in args}
    of_format = {option.attribute: getattr(args, option.attribute) for option in OPTIONS if option.group == FORMATS}
    return RecordOptions(**{**recording, "options": of_format, "countdown": args.countdown or 0.0})


def _record(args: argparse.Namespace) -> int:
    from pi_capture.network.address import several_senders
    from pi_capture.recording.capture import capture
    from pi_capture.recording.machine import directory_at
    from pi_capture.recording.observers import Observers
    from pi_capture.report.metrics import JsonLines, Meter, MetricsServer
    from pi_capture.report.progress import Progress
    from pi_capture.report.viewers import Viewers

    place = several_senders(args.camera)
    if place is not None:
        _check_gathering(args)
    stop = threading.Event()
    hurries = args.camera.startswith("file:")
    progress = Progress(args.directory, args.seconds, quiet=args.quiet, hurries=hurries)
    if args.countdown is None and progress.on_terminal:
        args.countdown = 3.0
    options = _asked(args)
    notifier = Notifier(os.environ, stop, progress.say)
    meter = Meter(shutil.disk_usage(directory_at(Path(args.directory))).free)
    lines = JsonLines(meter) if args.json_lines else None
    failure: RecordingError | None = None
    server = None if args.metrics is None else MetricsServer(args.metrics, meter)
    with (
        StopSignals(stop, ABORTED) as signals,
        progress,
        notifier,
        server or nullcontext(),
        _textfile(args, meter, progress),
        _mqtt(args, meter, progress),
        _live_labels(args, progress, signals) as live_labels,
        _preview(args, progress, live_labels) as preview,
        _senders(args, progress, live_labels) as senders,
        Viewers(_status_for_viewers(args, progress, meter, live_labels, stop), stop, live_labels) as viewers,
    ):

        def show(status: Status) -> None:
            progress.show(status)
            notifier.show(status, progress.line)
            meter.show(status, progress.fps, progress.free_bytes)
            if lines is not None:
                lines.show()
            if preview is not None:
                preview.show_text(progress.counts)

        _warn(args, progress.say)
        if server is not None:
            progress.say(f"metrics at {server.url}")
        observers = Observers(
            stop=stop,
            say=progress.say,
            progress=show,
            watch=_watch(viewers, preview, senders),
            watch_samples=senders,
            live_labels=live_labels,
        )
        target = Path(args.directory)
        try:
            if place is not None:
                from pi_capture.network.gather import gather

                summary = gather(target, args.seconds, place, options, observers)
            else:
                summary = capture(target, args.seconds, options, observers)
        except RecordingError as error:
            failure, summary = error, error.summary
        meter.end(summary)
    _print_counts(summary, failure, awaited="the class" if args.on_class else "motion")
    if lines is not None:
        lines.end(summary)
    elif args.json:
        _print_summary(summary)
    return 0 if failure is None else _fail(failure, 1)


ABORTED = "aborted; the next recording into this place takes up what was not stored yet"
NOT_WITH_SENDERS = (
    *("stream-to", "preview", "live-labels", "sensor", "audio", "segment", "keep", "retry", "between", "on-motion"),
    *("focus", "hdr", "jitter", "backend", "watch"),
)


def _check_gathering(args: argparse.Namespace) -> None:
    """Raise UsageError for an option that a recording of several senders does not have."""
    for option in OPTIONS:
        if option.name in NOT_WITH_SENDERS and getattr(args, option.attribute) not in (None, False, []):
            raise UsageError(f"--{option.name}: not with several senders; give it to each of them")


def _textfile(args: argparse.Namespace, meter: Meter, progress: Progress) -> AbstractContextManager[object]:
    if args.textfile is None:
        return nullcontext()
    from pi_capture.report.textfile import written

    return written(Path(args.textfile), os.path.abspath(args.directory), meter, progress.say)


def _mqtt(args: argparse.Namespace, meter: Meter, progress: Progress) -> AbstractContextManager[object]:
    if args.mqtt is None:
        return nullcontext()
    from pi_capture.report.mqtt import Broker, MqttStatus

    return MqttStatus(Broker.parse(args.mqtt), Path(args.directory), meter, progress.say)


@contextmanager
def _live_labels(args: argparse.Namespace, progress: Progress, signals: StopSignals) -> Iterator[LiveLabels | None]:
    if args.live_labels is None:
        yield None
        return
    from pi_capture.live.labels import LiveLabels
    from pi_capture.live.terminal import Terminal

    labels = LiveLabels(args.live_labels)
    if args.labels_from == "studio":
        yield labels
        return
    with Terminal(labels.press) as terminal:
        signals.before_abort = terminal.restore
        progress.note = lambda: labels.shown
        progress.say(f"live labels: {labels.legend}")
        yield labels


@contextmanager
def _preview(args: argparse.Namespace, progress: Progress, labels: LiveLabels | None) -> Iterator[Preview | None]:
    if not args.preview:
        yield None
        return
    from pi_capture.live.preview import Preview

    if labels is None:
        preview = Preview(args.directory, progress.say)
    else:
        preview = Preview(args.directory, progress.say, note=lambda: labels.shown, on_key=labels.press)
    with preview:
        yield preview


@contextmanager
def _senders(args: argparse.Namespace, progress: Progress, labels: LiveLabels | None) -> Iterator[list[Sender]]:
    senders: list[Sender] = []
    if not args.stream_to:
        yield senders
        return
    from pi_capture.network.address import Address
    from pi_capture.network.sender import Sender
    from pi_capture.recording.machine import facts_of_this_machine

    if args.camera == "none":
        raise UsageError("--stream-to: samples are sent with pictures only, and --camera none has none; leave it out")
    facts = {**facts_of_this_machine(), "camera": args.camera}
    addresses = [Address.parse(text, "--stream-to") for text in args.stream_to]
    try:
        for address in addresses:
            senders.append(Sender(address, facts, progress.say, labels))
        yield senders
    finally:
        for sender, address in zip(senders, addresses, strict=False):
            sender.close()
            line = f"--stream-to {address}: {sender.sent} frames sent, {sender.dropped} dropped"
            if sender.samples.tracks:
                lost = sender.samples.offered - sender.samples.sent
                line += f"; {sender.samples.sent} samples sent, {lost} dropped"
            progress.say(line)


def _watch(viewers: Viewers, preview: Preview | None, senders: Sequence[Sender]) -> Callable[[Frame, bool], None]:
    def watch(frame: Frame, recorded: bool) -> None:
        viewers.show(frame)
        if preview is not None:
            preview.show(frame)
        if recorded:
            for sender in senders:
                sender.offer(frame)

    return watch


def _status_for_viewers(
    args: argparse.Namespace, progress: Progress, meter: Meter, labels: LiveLabels | None, stop: threading.Event
) -> Callable[[], dict[str, Any]]:
    """Return the function that gives viewers the status: the command, the numbers, and the class of this moment."""
    from pi_capture.redact import public

    fixed = {
        "pid": os.getpid(),
        "target": os.path.abspath(args.directory),
        "command": shlex.join(["python", "-m", "pi_capture", *public(sys.argv[1:])]),
        "camera": public([args.camera])[0],
        "size": None if args.size is None else f"{args.size[0]}x{args.size[1]}",
        "started": time.time(),
        "seconds": args.seconds,
        "classes": [] if labels is None else labels.names,
    }

    def status() -> dict[str, Any]:
        left = progress.seconds_left
        return {
            **fixed,
            **meter.read(),
            "seconds_left": None if left is None else round(left, 1),
            "label": None if labels is None else labels.label,
            "line": progress.line,
            "stopping": stop.is_set(),
        }

    return status


def _print_counts(summary: Summary, failure: RecordingError | None, *, awaited: str) -> None:
    has_all_frames = failure is None or failure.has_all_frames
    counts = (
        f"{summary.seconds:.1f} s"
        if not summary.frames and summary.tracks
        else _counts_of_pictures(summary, has_all_frames, awaited)
    )
    others = f" and {summary.segments - 1} before it" if summary.newest and summary.segments > 1 else ""
    print_line(f"{summary.newest or summary.path}{others}: {counts}, {summary.bytes / 1e6:.1f} MB", sys.stderr)
    for name, track in summary.tracks.items():
        rate = f", {track.measured_rate:.6g} a second" if track.measured_rate else ""
        missing = [f"{count} {what}" for what, count in (("padded", track.padded), ("lost", track.lost)) if count]
        before = f"; {track.came_before} came before the first picture" if track.came_before else ""
        count = f"{track.samples} samples" if track.samples else "no samples came"
        if track.samples and not missing and has_all_frames and not track.problems:
            from pi_capture.samples.clock import least_pause_seconds

            missing = [f"none missing for over {least_pause_seconds(track.rate):.3g} s"]
        print_line(f"  {name}: {', '.join([count + rate, *missing])}{before}", sys.stderr)


def _print_summary(summary: Summary) -> None:
    """Print a summary. Raises OSError, which names standard output instead of the recording."""
    import json

    try:
        print(json.dumps(asdict(summary)), flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still in the buffer
        error.filename = "standard output"
        raise


def _counts_of_pictures(summary: Summary, has_all_frames: bool, awaited: str) -> str:
    lost = {
        "dropped by the camera": summary.dropped_camera,
        "dropped by a full queue": summary.dropped_queue,
        "that could not be stored": summary.dropped_disk,
    }
    dropped = ", ".join(f"{count} {cause}" for cause, count in lost.items() if count)
    dropped = dropped or ("none dropped" if has_all_frames else "until it failed")
    if summary.not_kept:
        dropped += f", {summary.not_kept} without {awaited} not kept"
    if summary.reopened:
        dropped += f", camera opened again {summary.reopened} times"
    return f"{summary.frames} frames in {summary.seconds:.1f} s ({summary.fps:.1f} a second), {dropped}"


def _list_cameras() -> int:
    from pi_capture.sources import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        print(f"{printable(camera.spec)}\t{printable(camera.model)}")
    return 0 if cameras else _fail("no camera found; check the cable, or try --camera demo", 1)


def _fail(reason: object, status: int) -> int:
    return fail(str(reason).replace("\n", " "), status, f"{priority(ERROR)}pi_capture")
