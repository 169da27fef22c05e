"""The options of ``python -m pi_capture``, their types, and the help.

Each option is a setting too, in a file or the environment (see `pi_capture.config`). `pi_capture.cli` uses them.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence

from pi_capture import __version__
from pi_capture.config import Kind, Option
from pi_capture.errors import UsageError
from pi_capture.recording import HOLD_SECONDS
from storage.amounts import parse_seconds
from storage.commands.console import Parser, duration, duration_above_0, positive

MAX_SIDE = 16384
ORDERS = {
    "print-config": "print each setting and its origin, then exit",
    "list-cameras": "print the cameras that are plugged in, then exit",
}
"""Flags that print something instead of recording; they are not settings."""

EPILOG = """\
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
{targets}
commands (each has its own --help):
  export-model [--weights FILE]         get the network for .features.h5 and for training, once
  doctor [DIRECTORY]                    check in ten seconds if this machine can record, and how fast
  install-service NAME --config FILE    record at every boot, under systemd
  uninstall-service NAME                remove that service; its recordings stay
  make-identity FILE                    for tls:// between machines that you trust
  watch MODEL [SECONDS]                 say what the camera sees, and run commands for it
  studio [FOLDER]                       see, record and label in a browser

cameras:
{cameras}
times: a number is in seconds; 90s, 10min, 2h and 7d are times as well

exit status: 0 recorded; 1 failed, with everything recorded so far safe; 2 wrong usage
"""


class _Parser(Parser):
    def format_help(self) -> str:
        """Add the tables of targets and cameras; only here, as it takes a moment to look for installed ones."""
        from pi_capture.sources.table import URL, all_sources
        from storage.formats.table import all_formats

        targets = [(f"day1{row.suffix}", row.summary or f"the format {row.name}") for row in all_formats()]
        cameras = [
            ("auto", "the Raspberry Pi camera, else the first USB camera (default)"),
            *((kind.form, kind.summary) for kind in (*all_sources(), URL)),
            ("none", "no pictures: sensors and sound only"),
        ]
        self.epilog = EPILOG.format(targets=_table(targets), cameras=_table(cameras))
        return super().format_help()


def _table(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows) + 4
    return "".join(
        textwrap.fill(text, 118, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width) + "\n"
        for name, text in rows
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, which only collects texts (see `pi_capture.config.configure`)."""
    parser = _Parser(
        prog="python -m pi_capture",
        usage="%(prog)s DIRECTORY SECONDS [options]",  # the generated one would hide the error
        description="Record frames from a camera, for labelling and training.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    groups = {"": parser.add_argument}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group).add_argument
        option.add(groups[option.group])
    for name, text in ORDERS.items():
        parser.add_argument(f"--{name}", action="store_true", default=False, help=text)
    parser.add_argument("--version", action="version", version=f"pi-capture {__version__}")
    return parser


# ------------------------------------------------------------------------------------------------ the arguments' types


def _length(text: str) -> float:
    seconds = parse_seconds(text)
    if seconds is None or (seconds <= 0 and seconds != -1):
        raise argparse.ArgumentTypeError(f"{text!r}: give seconds, or a time such as 10min or 1h; -1: until Ctrl-C")
    return seconds


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r}: give a port, 1 to 65535, or 0 for any that is free")
    return int(text)


def _focus(text: str) -> float | str:
    from pi_capture.recording.options import parse_focus

    try:
        return parse_focus(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _class_names(text: str) -> tuple[str, ...]:
    from pi_capture.live.labels import class_names

    try:
        return class_names(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _kept(text: str) -> str:
    from pi_capture.segments.retention import Keep

    try:
        Keep.parse([text])
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--keep ")) from None
    return text


def _labels_from(text: str) -> str:
    if text not in ("terminal", "studio"):
        raise argparse.ArgumentTypeError(f"{text!r}: give terminal or studio")
    return text


def size(text: str) -> tuple[int, int] | None:
    """``640x480``, or ``source`` for None."""
    if text == "source":
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise argparse.ArgumentTypeError(f"{text!r}: give WIDTHxHEIGHT in pixels, such as 640x480, or 'source'")
    return width, height


# --------------------------------------------------------------------------------------------------------- the options

SAMPLES = "sensors and sound, in .mkv and .mka"
FORMATS = "options of the formats"
LASTING = "recordings that last"
OPTIONS = (
    Option("directory", "what to record into; if it exists, new frames are added to it", "DIRECTORY", Kind.POSITIONAL),
    Option(
        "seconds",
        "how long to record, such as 60, 10min or 1h; -1: until Ctrl-C",
        "SECONDS",
        Kind.POSITIONAL,
        type=_length,
        number=True,
        text="10min",
    ),
    Option("camera", "what to record from, see below", "SPEC", default="auto"),
    Option(
        "size",
        "size of the frames (default: 128x128); 'source' keeps the camera's",
        "WxH",
        type=size,
        default="128x128",
    ),
    Option("fps", "wanted rate (default: the camera's, at most 30)", "N", type=positive, number=True),
    Option("backend", "format (default: by DIRECTORY's suffix, else png)", "NAME"),
    Option(
        "jitter",
        "training mode: adapt to the light for 5 s, keep that exposure, then make each frame a little brighter or "
        "darker, warmer or colder (default: Pi camera only)",
        kind=Kind.YES_OR_NO,
    ),
    Option("jitter-seed", "the same number gives the same variation", "N", type=int, number=True),
    Option(
        "focus",
        "Pi camera with a lens that moves: auto (default) keeps searching; once searches before recording, then holds; "
        "or the distance in metres, such as 0.5",
        "auto|once|METRES",
        type=_focus,
        number=True,
        text="once",
    ),
    Option("hdr", "Pi camera on a Pi 5: show dark and bright parts at once; without jitter", kind=Kind.SWITCH),
    Option(
        "countdown",
        "seconds to count down before recording (default: 3 on a terminal, else 0)",
        "S",
        type=duration,
        number=True,
        text="10min",
    ),
    Option(
        "sync-interval",
        "seconds between syncs to the disk: a power cut loses no more than that (default: 1)",
        "S",
        type=duration_above_0,
        number=True,
        text="10min",
        default=1.0,
    ),
    Option(
        "live-labels",
        "label while recording, as in none,door: 0 begins the first class, 1 the second; - or Backspace ends it",
        "NAMES",
        type=_class_names,
    ),
    Option(
        "labels-from",
        "who gives live labels: terminal (default; the studio may as well), or studio alone, without a terminal",
        "PLACE",
        type=_labels_from,
        default="terminal",
    ),
    Option("preview", "show the live picture in a window", kind=Kind.SWITCH),
    Option(
        "stream-to",
        "also send the recording to a receiver, such as tcp://desk:5000; may be given several times",
        "URL",
        Kind.LIST,
    ),
    Option("identity", "for tls://: the same file on both machines; make-identity makes it", "FILE"),
    Option(
        "sensor",
        "NAME,rate=HZ[,channels=N][,format=f32le|s16le|text][,unit=U][,labels=x|y]=COMMAND, which prints numbers; "
        "=- for standard input; may be given several times",
        "SPEC",
        Kind.LIST,
        group=SAMPLES,
        dest="sensors",
    ),
    Option("audio", "alsa:DEVICE, pulse:SOURCE or lavfi:GRAPH", "SPEC", Kind.LIST, group=SAMPLES),
    Option("audio-codec", "flac (default), opus or pcm", "NAME", group=SAMPLES, default="flac"),
    Option("compression", ".h5: deflate (default) or none, which is faster and larger", "NAME", group=FORMATS),
    Option("codec", ".mkv: ffv1 (lossless, default), h264-lossless, h264 or mjpeg", "NAME", group=FORMATS),
    Option(
        "crf",
        "quality of h264 and mjpeg: lower is better and larger",
        "N",
        type=int,
        number=True,
        group=FORMATS,
    ),
    Option(
        "weights",
        ".features.h5: weights of MobileNet: imagenet (default), or a file (see export-model)",
        "FILE",
        group=FORMATS,
    ),
    Option("config", "read options that are not given here from a TOML file; they have the same names", "FILE"),
    Option("segment", "begin a new recording beside it every 1h, 10min, 2GB or 1000frames", "LENGTH", group=LASTING),
    Option(
        "keep",
        "remove the oldest unlabelled segments: 20GB, 7d, min-free=2GB; with uploaded only those that receipt.json "
        "names; may be given several times",
        "AMOUNT",
        Kind.LIST,
        _kept,
        group=LASTING,
    ),
    Option(
        "retry",
        "open a failed camera again, up to N times in a row (default: no limit), with growing pauses",
        "N",
        Kind.MAYBE_VALUE,
        type=int,
        number=True,
        bare=-1,
        group=LASTING,
    ),
    Option(
        "between",
        "record only between these times, local time, also over midnight; may be given several times",
        "HH:MM-HH:MM",
        Kind.LIST,
        group=LASTING,
    ),
    Option(
        "on-motion",
        "keep only frames in which at least this share of the picture changes, in percent (default: 1)",
        "PERCENT",
        Kind.MAYBE_VALUE,
        type=positive,
        number=True,
        bare=1.0,
        group=LASTING,
    ),
    Option(
        "watch",
        "note in each frame which class this model (.model or .tflite) sees, and how certain it is",
        "MODEL",
        group=LASTING,
        dest="model",
    ),
    Option(
        "hold",
        f"seconds that a class must lead before it counts (default: {HOLD_SECONDS})",
        "S",
        type=duration,
        number=True,
        text="10min",
        default=HOLD_SECONDS,
        group=LASTING,
    ),
    Option(
        "on-class",
        "keep only frames in which the model sees this class; may be given several times",
        "NAME",
        Kind.LIST,
        group=LASTING,
    ),
    Option(
        "pre-roll",
        "seconds to keep before motion or the class begins (default: 2)",
        "S",
        type=duration,
        number=True,
        text="10min",
        default=2.0,
        group=LASTING,
    ),
    Option(
        "post-roll",
        "seconds to keep after motion or the class has ended (default: 5)",
        "S",
        type=duration,
        number=True,
        text="10min",
        default=5.0,
        group=LASTING,
    ),
    Option("json", "print one summary object on stdout", kind=Kind.SWITCH),
    Option("json-lines", "print a status a second on stdout, then the summary", kind=Kind.SWITCH),
    Option("metrics", "answer Prometheus at http://127.0.0.1:PORT/metrics", "PORT", type=_port, number=True),
    Option("textfile", "keep the same numbers in a file for node_exporter's textfile collector", "FILE.prom"),
    Option("mqtt", "send the status to a broker, where Home Assistant finds it: mqtt://HOST/TOPIC", "URL"),
    Option("quiet", "no progress", kind=Kind.SWITCH),
)
