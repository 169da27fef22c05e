"""What ``python -m pi_capture`` takes: its options, their types, and the help.

Each is a setting as well, in a file or the environment (`pi_capture.config`). What is done with them: see
`pi_capture.cli`.
"""

from __future__ import annotations

import argparse
import re

from pi_capture import __version__
from pi_capture.config import Kind, Option
from storage.commands.console import finite, not_negative, positive

MAX_SIDE = 16384
ORDERS = {
    "print-config": "show each setting and its origin, and end",
    "list-cameras": "show what is plugged in, and end",
}
"""What is done instead of recording: these are no settings."""

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
  make-identity FILE                    for tls:// between machines that you trust

cameras:
  auto                  the Raspberry Pi camera, else the first USB camera (default)
  picamera2[:N]         Raspberry Pi camera N
  v4l2[:/dev/videoN]    USB camera
  screen[:DISPLAY+X,Y]  an X11 screen, from X,Y on
  file:PATH             a video file: every frame, with its own timestamps, as fast as it decodes
  tcp://…               what another machine sends with --stream-to; ?listen waits for it, ?listen&senders=2 for two
  tls://…               the same, encrypted, for whoever has the same --identity
  srt://…               the same by SRT, through the program ffmpeg
  rtsp://… http://…     a network stream (any URL that FFmpeg opens)
  ffmpeg:FORMAT:URL     any FFmpeg device: ffmpeg:dshow:video=Webcam, ffmpeg:lavfi:testsrc …
  demo[:SEED]           a drawn room in which a figure performs the five actions
  none                  no pictures: sensors and sound only

exit status: 0 recorded; 1 failed, with everything recorded so far safe; 2 wrong usage
"""


class _Parser(argparse.ArgumentParser):
    """Its help also lists the formats and cameras that other distributions have installed."""

    def format_help(self) -> str:
        from pi_capture.sources.table import SOURCES, all_sources
        from storage.formats.table import FORMATS, all_formats

        formats = [(f"day1{row.suffix}", row.summary or row.name) for row in all_formats() if row not in FORMATS]
        cameras = [(kind.form, kind.summary) for kind in all_sources() if kind not in SOURCES]
        others = "".join(f"  {form:20}  {summary}\n" for form, summary in (*formats, *cameras))
        if others:
            self.epilog = EXAMPLES.replace("\nexit status:", f"\ninstalled by others:\n{others}\nexit status:")
        return super().format_help()


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; it only collects the texts of `OPTIONS` (see `pi_capture.config.configure`)."""
    parser = _Parser(
        prog="python -m pi_capture",
        usage="%(prog)s DIRECTORY SECONDS [options]",  # the one made of forty options hides what is wrong behind it
        description="Record frames from a camera, for labelling and training.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    groups = {"": parser.add_argument}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group).add_argument
        option.add(groups[option.group])
    for name, told in ORDERS.items():
        parser.add_argument(f"--{name}", action="store_true", default=False, help=told)
    parser.add_argument("--version", action="version", version=f"pi-capture {__version__}")
    return parser


# ------------------------------------------------------------------------------------------------ the arguments' types


def _seconds(text: str) -> float:
    number = finite(text)
    if number <= 0 and number != -1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of seconds, or -1 to record until Ctrl-C")
    return number


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r}: give a port, 1 to 65535, or 0 for any that is free")
    return int(text)


def _class_names(text: str) -> tuple[str, ...]:
    from pi_capture.live.labels import class_names

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


# --------------------------------------------------------------------------------------------------------- the options

SAMPLES = "sensors and sound, in .mkv and .mka"
FORMATS = "options of the formats"
LASTING = "recordings that last"
OPTIONS = (
    Option("directory", "where to; added to if it exists", "DIRECTORY", Kind.POSITIONAL),
    Option("seconds", "how long; -1 until Ctrl-C", "SECONDS", Kind.POSITIONAL, type=_seconds, number=True),
    Option("camera", "what to record from, see below", "SPEC", default="auto"),
    Option("size", "128x128 unless given; or 'source'", "WxH", type=size, default="128x128"),
    Option("fps", "wanted rate (default: the camera's, at most 30)", "N", type=positive, number=True),
    Option("backend", "format (default: by DIRECTORY's suffix, else png)", "NAME"),
    Option(
        "jitter",
        "settle 5 s, lock exposure, then vary gain and white balance per frame (default: Pi camera only)",
        kind=Kind.YES_OR_NO,
    ),
    Option("jitter-seed", "repeat the same variation", "N", type=int, number=True),
    Option("countdown", "warning (default: 3 on a terminal, else 0)", "S", type=not_negative, number=True),
    Option("sync-interval", "what a power cut may cost (default: 1)", "S", type=positive, number=True, default=1.0),
    Option(
        "live-labels",
        "label while recording, as in none,door: a digit begins its class, - or Backspace ends it",
        "NAMES",
        type=_class_names,
    ),
    Option("preview", "show the live picture in a window", kind=Kind.SWITCH),
    Option(
        "stream-to",
        "send what is recorded as well, as in tcp://desk:5000; several times for several receivers",
        "URL",
        Kind.LIST,
    ),
    Option("identity", "of tls://, the same on both machines; python -m pi_capture make-identity makes it", "FILE"),
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
        ".features.h5: of MobileNet: imagenet (default), or a file (see export-model)",
        "FILE",
        group=FORMATS,
    ),
    Option("config", "read what isn't given here from a TOML file, under these same names", "FILE"),
    Option("segment", "begin a new recording beside it every 1h, 10min, 2GB or 1000frames", "LENGTH", group=LASTING),
    Option(
        "keep",
        "remove the oldest unlabelled segments: 20GB, 7d, min-free=2GB; may be given several times",
        "AMOUNT",
        Kind.LIST,
        group=LASTING,
    ),
    Option(
        "retry",
        "open a camera that failed again, N times in a row (default: no end), with growing pauses",
        "N",
        Kind.MAYBE_VALUE,
        type=int,
        number=True,
        bare=-1,
        group=LASTING,
    ),
    Option(
        "between",
        "record at these hours, local time; over midnight too; may be given several times",
        "HH:MM-HH:MM",
        Kind.LIST,
        group=LASTING,
    ),
    Option(
        "on-motion",
        "keep only what moves: this much of the picture, at least (default: 1)",
        "PERCENT",
        Kind.MAYBE_VALUE,
        type=positive,
        number=True,
        bare=1.0,
        group=LASTING,
    ),
    Option(
        "pre-roll",
        "seconds kept before motion begins (default: 2)",
        "S",
        type=not_negative,
        number=True,
        default=2.0,
        group=LASTING,
    ),
    Option(
        "post-roll",
        "seconds kept after motion ended (default: 5)",
        "S",
        type=not_negative,
        number=True,
        default=5.0,
        group=LASTING,
    ),
    Option("json", "print one summary object on stdout", kind=Kind.SWITCH),
    Option("json-lines", "print a status a second on stdout, then the summary", kind=Kind.SWITCH),
    Option("metrics", "answer Prometheus at http://127.0.0.1:PORT/metrics", "PORT", type=_port, number=True),
    Option("quiet", "no progress", kind=Kind.SWITCH),
)
