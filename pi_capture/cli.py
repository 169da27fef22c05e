"""``python -m pi_capture``: the command line of the recorder.

It reads the arguments, shows progress and turns failures into one line and an exit status: 0 recorded, 1 failed with
everything recorded so far safe, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pi_capture import __version__
from pi_capture.config import as_toml, configure
from pi_capture.errors import CameraError, PreviewError, RecordingError, UsageError
from pi_capture.service import ERROR, Notifier, StopSignals, leave_if_hung, priority
from storage.errors import StorageError

if TYPE_CHECKING:
    from pi_capture.live_labels import LiveLabels
    from pi_capture.preview import Preview
    from pi_capture.progress import Progress
    from pi_capture.recorder import Status, Summary
    from pi_capture.streaming import Sender
    from storage.frame import Frame

MAX_SIDE = 16384
COMMANDS: dict[str, str] = {
    "export-model": "pi_capture.cli:export_model",
    "doctor": "pi_capture.doctor:main",
    "install-service": "pi_capture.install:install",
    "uninstall-service": "pi_capture.install:uninstall",
}
"""What the first word may be instead of a DIRECTORY (``./doctor`` is one): ``module:function``, imported when called.

The function takes the words that follow, and returns the exit status.
"""
ORDERS = ("list-cameras", "print-config")  # options that are no setting

EXAMPLES = """\
examples:
  python -m pi_capture day1 -1                          until Ctrl-C, into day1/00000000.png …
  python -m pi_capture day1/0 60                        a minute, straight into class 0
  python -m pi_capture day1 10 --camera demo            without a camera: a drawn scene
  python -m pi_capture day1 -1 --camera v4l2:/dev/video2 --size 640x480 --fps 15
  python -m pi_capture day1 -1 --camera file:clip.mp4 --size source
  python -m pi_capture day1 60 --camera screen:0.0+100,50 --size 256x256
  python -m pi_capture day1.mkv 60                      into one file: lossless video
  python -m pi_capture day1.mkv 60 --sensor imu,rate=50,channels=3,format=text="python -u imu.py" --audio alsa:default
  python -m pi_capture talk.mka 60 --camera none --audio pulse:default
  python -m pi_capture --list-cameras

targets:
  day1          a PNG file per frame, day1/0 a class directory; for labelling and for Keras as it is
  day1.mkv      one lossless video, or smaller with --codec h264; every frame with its own time
  day1.h5       one HDF5 file, a chunk per frame
  day1.features.h5  256 numbers per frame, by MobileNet, and no pictures

commands (each has its own --help):
  export-model [--weights FILE]         make weights for .features.h5 ready, once
  doctor [DIRECTORY]                    will this machine record, and how fast?
  install-service NAME --config FILE    record at every boot, looked after by systemd
  uninstall-service NAME                no more

cameras:
  auto                  the Raspberry Pi camera, else the first USB camera (default)
  picamera2[:N]         Raspberry Pi camera N
  v4l2[:/dev/videoN]    USB camera
  screen[:DISPLAY+X,Y]  an X11 screen, from X,Y on
  file:PATH             a video file: every frame, with its own timestamps, as fast as it decodes
  tcp://…               what another machine sends with --stream-to; ?listen waits for it
  rtsp://… http://…     a network stream (any URL that FFmpeg opens)
  ffmpeg:FORMAT:URL     any FFmpeg device: ffmpeg:dshow:video=Webcam, ffmpeg:lavfi:testsrc …
  demo[:SEED]           a drawn room in which a figure performs the five actions
  none                  no pictures: sensors and sound only

exit status: 0 recorded; 1 failed, with everything recorded so far safe; 2 wrong usage
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pi_capture",
        description="Record frames from a camera, for labelling and training.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", help="where to; added to if it exists")
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=_seconds, help="how long; -1 until Ctrl-C")
    parser.add_argument("--camera", metavar="SPEC", default="auto", help="what to record from, see below")
    parser.add_argument("--size", metavar="WxH", type=size, default="128x128", help="128x128 unless given; or 'source'")
    parser.add_argument("--fps", metavar="N", type=_positive, help="wanted rate (default: the camera's, at most 30)")
    parser.add_argument("--backend", metavar="NAME", help="format (default: by DIRECTORY's suffix, else png)")
    parser.add_argument(
        "--jitter",
        action=argparse.BooleanOptionalAction,
        help="settle 5 s, lock exposure, then vary gain and white balance per frame (default: Pi camera only)",
    )
    parser.add_argument("--jitter-seed", metavar="N", type=int, help="repeat the same variation")
    parser.add_argument(
        "--countdown", metavar="S", type=_not_negative, help="warning (default: 3 on a terminal, else 0)"
    )
    parser.add_argument(
        "--sync-interval", metavar="S", type=_positive, default=1.0, help="what a power cut may cost (default: 1)"
    )
    parser.add_argument(
        "--live-labels",
        metavar="NAMES",
        type=_class_names,
        help="label while recording, as in none,door: a digit begins its class, - or Backspace ends it",
    )
    parser.add_argument("--preview", action="store_true", help="show the live picture in a window")
    parser.add_argument(
        "--stream-to",
        metavar="URL",
        action="append",
        help="send the frames as well, as in tcp://desk:5000; several times for several receivers",
    )
    beside = parser.add_argument_group("sensors and sound, in .mkv and .mka")
    beside.add_argument(
        "--sensor",
        metavar="SPEC",
        action="append",
        default=[],
        help="NAME,rate=HZ[,channels=N][,format=f32le|s16le|text][,unit=U][,labels=x|y]=COMMAND, which prints numbers; "
        "=- for standard input; may be given several times",
    )
    beside.add_argument(
        "--audio", metavar="SPEC", action="append", default=[], help="alsa:DEVICE, pulse:SOURCE or lavfi:GRAPH"
    )
    beside.add_argument("--audio-codec", metavar="NAME", default="flac", help="flac (default), opus or pcm")
    options = parser.add_argument_group("options of the formats")
    options.add_argument(
        "--compression", metavar="NAME", help=".h5: deflate (default) or none, which is faster and larger"
    )
    options.add_argument("--codec", metavar="NAME", help=".mkv: ffv1 (lossless, default), h264-lossless, h264 or mjpeg")
    options.add_argument("--crf", metavar="N", type=int, help="quality of h264 and mjpeg: lower is better and larger")
    options.add_argument(
        "--weights", metavar="FILE", help=".features.h5: of MobileNet: imagenet (default), or a file (see export-model)"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="read what isn't given here from a TOML file, under these same names"
    )
    parser.add_argument("--print-config", action="store_true", help="show each setting and its origin, and end")
    lasting = parser.add_argument_group("recordings that last")
    lasting.add_argument(
        "--segment", metavar="LENGTH", help="begin a new recording beside it every 1h, 10min, 2GB or 1000frames"
    )
    lasting.add_argument(
        "--keep",
        metavar="AMOUNT",
        action="append",
        default=[],
        help="remove the oldest unlabelled segments: 20GB, 7d, min-free=2GB; may be given several times",
    )
    lasting.add_argument(
        "--retry",
        metavar="N",
        type=int,
        nargs="?",
        const=-1,
        help="open a camera that failed again, N times in a row (default: no end), with growing pauses",
    )
    lasting.add_argument(
        "--between",
        metavar="HH:MM-HH:MM",
        action="append",
        default=[],
        help="record at these hours, local time; over midnight too; may be given several times",
    )
    lasting.add_argument(
        "--on-motion",
        metavar="PERCENT",
        type=_positive,
        nargs="?",
        const=1.0,
        help="keep only what moves: this much of the picture, at least (default: 1)",
    )
    lasting.add_argument("--pre-roll", metavar="S", type=_not_negative, default=2.0, help="and before it (default: 2)")
    lasting.add_argument("--post-roll", metavar="S", type=_not_negative, default=5.0, help="and after it (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one summary object on stdout")
    parser.add_argument("--json-lines", action="store_true", help="print a status a second on stdout, then the summary")
    parser.add_argument(
        "--metrics", metavar="PORT", type=_port, help="answer Prometheus at http://127.0.0.1:PORT/metrics"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--list-cameras", action="store_true", help="show what is plugged in, and end")
    parser.add_argument("--version", action="version", version=f"pi-capture {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recorder's command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in COMMANDS:
            module, _, function = COMMANDS[words[0]].partition(":")
            status: int = getattr(importlib.import_module(module), function)(words[1:])
            return status
        return _main(words)
    except UsageError as error:
        return _fail(error, 2)
    except (CameraError, PreviewError, StorageError) as error:
        return _fail(error, 1)
    except OSError as error:
        return _fail(f"{error.filename or words[0]}: {error.strerror}", 1)


def _main(words: Sequence[str]) -> int:
    parser = build_parser()
    configuration = configure(parser, words, os.environ, ORDERS)
    args = configuration.arguments
    if args.list_cameras:
        return _list_cameras()
    if args.print_config:
        print(as_toml(configuration.settings))
        return 0
    if args.directory is None or args.seconds is None:
        parser.error("DIRECTORY and SECONDS are needed, such as: python -m pi_capture day1 -1")
    return _record(args)


def _record(args: argparse.Namespace) -> int:
    from pi_capture.capture import record
    from pi_capture.metrics import JsonLines, Meter, MetricsServer
    from pi_capture.progress import Progress

    stop = threading.Event()
    progress = Progress(args.directory, args.seconds, quiet=args.quiet)
    countdown = args.countdown if args.countdown is not None else 3.0 if progress.on_terminal else 0.0
    notifier = Notifier(os.environ, stop, progress.say)
    meter = Meter()
    lines = JsonLines(meter) if args.json_lines else None

    def show(status: Status) -> None:
        progress.show(status)
        notifier.show(status, progress.line)
        meter.show(status, progress.fps, progress.free_bytes)
        if lines is not None:
            lines.show()

    failure: RecordingError | None = None
    server = None if args.metrics is None else MetricsServer(args.metrics, meter)
    with (
        StopSignals(stop) as signals,
        progress,
        notifier,
        server or nullcontext(),
        _live_labels(args, progress, signals) as live_labels,
        _preview(args, progress, live_labels) as preview,
        _senders(args, progress) as senders,
    ):
        if server is not None:
            progress.say(f"metrics at {server.url}")
        try:
            summary = record(
                args.directory,
                args.seconds,
                camera=args.camera,
                size=args.size,
                fps=args.fps,
                backend=args.backend,
                jitter=args.jitter,
                jitter_seed=args.jitter_seed,
                countdown=countdown,
                sync_interval=args.sync_interval,
                options={name: getattr(args, name) for name in ("compression", "codec", "crf", "weights")},
                sensors=args.sensor,
                audio=args.audio,
                audio_codec=args.audio_codec,
                segment=args.segment,
                keep=args.keep,
                retry=args.retry,
                between=args.between,
                on_motion=args.on_motion,
                pre_roll=args.pre_roll,
                post_roll=args.post_roll,
                stop=stop,
                say=progress.say,
                progress=show if preview is None else _both(show, preview.tell),
                watch=_watch(preview, senders),
                live_labels=live_labels,
            )
        except RecordingError as error:
            failure, summary = error, error.summary
    _tell(summary)
    if lines is not None:
        lines.end(summary)
    elif args.json:
        print(json.dumps(asdict(summary)))
    status = 0 if failure is None else _fail(failure, 1)
    leave_if_hung(status)
    return status


EXPORT_MODEL = """\
Make the weights of MobileNet (0.25, 128x128) ready for recording features: a .tflite file, for which
a Raspberry Pi needs no TensorFlow. This machine needs it, and for the ImageNet weights a network, once.
Take the file along: python -m pi_capture day1.features.h5 -1 --weights FILE.tflite
"""


def export_model(arguments: Sequence[str]) -> int:
    """``export-model``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pi_capture export-model",
        description=EXPORT_MODEL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights", metavar="FILE", default="imagenet", help="imagenet (default), or .keras, .weights.h5 or .pb"
    )
    parser.add_argument("--out", metavar="FILE.tflite", type=Path, help="what to make (default: one in your cache)")
    args = parser.parse_args(arguments)
    from storage import mobilenet_export

    print(mobilenet_export.export_model(args.weights, args.out))
    return 0


@contextmanager
def _live_labels(args: argparse.Namespace, progress: Progress, signals: StopSignals) -> Iterator[LiveLabels | None]:
    if args.live_labels is None:
        yield None
        return
    from pi_capture.live_labels import LiveLabels
    from pi_capture.terminal import Terminal

    labels = LiveLabels(args.live_labels)
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
    from pi_capture.preview import Preview

    if labels is None:
        preview = Preview(args.directory, progress.say)
    else:
        preview = Preview(args.directory, progress.say, note=lambda: labels.shown, on_key=labels.press)
    with preview:
        yield preview


@contextmanager
def _senders(args: argparse.Namespace, progress: Progress) -> Iterator[list[Sender]]:
    senders: list[Sender] = []
    if not args.stream_to:
        yield senders
        return
    from pi_capture.recorder import facts_of_this_machine
    from pi_capture.streaming import Address, Sender

    facts = {**facts_of_this_machine(), "camera": args.camera}
    addresses = [Address.parse(text, "--stream-to") for text in args.stream_to]
    try:
        for address in addresses:
            senders.append(Sender(address, facts, progress.say))
        yield senders
    finally:
        for sender, address in zip(senders, addresses, strict=False):
            sender.close()
            progress.say(f"--stream-to {address}: {sender.sent} frames sent, {sender.dropped} dropped")


def _watch(preview: Preview | None, senders: Sequence[Sender]) -> Callable[[Frame, bool], None] | None:
    if preview is None and not senders:
        return None

    def watch(frame: Frame, recorded: bool) -> None:
        if preview is not None:
            preview.show(frame)
        if recorded:
            for sender in senders:
                sender.offer(frame)

    return watch


def _both(first: Callable[[Status], None], second: Callable[[Status], None]) -> Callable[[Status], None]:
    def tell(status: Status) -> None:
        first(status)
        second(status)

    return tell


def _tell(summary: Summary) -> None:
    if summary.size is None and summary.tracks:
        print(f"{summary.path}: {summary.seconds:.1f} s, {summary.bytes / 1e6:.1f} MB", file=sys.stderr)
    else:
        _tell_pictures(summary)
    for name, track in summary.tracks.items():
        rate = f", {track.measured_rate:.6g} a second" if track.measured_rate else ""
        missing = [f"{count} {what}" for what, count in (("padded", track.padded), ("lost", track.lost)) if count]
        print(f"  {name}: {track.samples} samples{rate}, {', '.join(missing) or 'none missing'}", file=sys.stderr)


def _tell_pictures(summary: Summary) -> None:
    lost = {
        "dropped by the camera": summary.dropped_camera,
        "dropped by a full queue": summary.dropped_queue,
        "that could not be stored": summary.dropped_disk,
    }
    dropped = ", ".join(f"{count} {cause}" for cause, count in lost.items() if count) or "none dropped"
    if summary.not_kept:
        dropped += f", {summary.not_kept} without motion not kept"
    if summary.reopened:
        dropped += f", camera opened again {summary.reopened} times"
    if summary.segments > 1:
        dropped += f", {summary.segments} segments"
    print(
        f"{summary.path}: {summary.frames} frames in {summary.seconds:.1f} s ({summary.fps:.1f} a second), {dropped}, "
        f"{summary.bytes / 1e6:.1f} MB",
        file=sys.stderr,
    )


def _list_cameras() -> int:
    from pi_capture.sources import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        print(f"{camera.spec}\t{camera.model}")
    return 0 if cameras else _fail("no camera found; check the cable, or try --camera demo", 1)


def _fail(reason: object, status: int) -> int:
    print(f"{priority(ERROR)}pi_capture: {reason}".replace("\n", " "), file=sys.stderr)
    return status


# ------------------------------------------------------------------------------------------------ the arguments' types


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def _seconds(text: str) -> float:
    number = _number(text)
    if number <= 0 and number != -1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of seconds, or -1 to record until Ctrl-C")
    return number


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r}: give a port, 1 to 65535, or 0 for any that is free")
    return int(text)


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


def _class_names(text: str) -> tuple[str, ...]:
    from pi_capture.live_labels import class_names

    try:
        return class_names(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> tuple[int, int] | None:
    """``640x480``, or ``source`` for None."""
    if text == "source":
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise argparse.ArgumentTypeError(f"{text!r}: give WIDTHxHEIGHT in pixels, such as 640x480, or 'source'")
    return width, height
