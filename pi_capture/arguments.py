"""What ``python -m pi_capture`` takes: its options, their types, and the help.

Each long option is a setting as well, in a file or the environment (`pi_capture.config`). What is done with them is
`pi_capture.cli`'s business.
"""

from __future__ import annotations

import argparse
import re

from pi_capture import __version__
from storage.commands.console import finite, not_negative, positive

MAX_SIDE = 16384
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
    parser = _Parser(
        prog="python -m pi_capture",
        usage="%(prog)s DIRECTORY SECONDS [options]",  # the one made of forty options hides what is wrong behind it
        description="Record frames from a camera, for labelling and training.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", help="where to; added to if it exists")
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=_seconds, help="how long; -1 until Ctrl-C")
    parser.add_argument("--camera", metavar="SPEC", default="auto", help="what to record from, see below")
    parser.add_argument("--size", metavar="WxH", type=size, default="128x128", help="128x128 unless given; or 'source'")
    parser.add_argument("--fps", metavar="N", type=positive, help="wanted rate (default: the camera's, at most 30)")
    parser.add_argument("--backend", metavar="NAME", help="format (default: by DIRECTORY's suffix, else png)")
    parser.add_argument(
        "--jitter",
        action=argparse.BooleanOptionalAction,
        help="settle 5 s, lock exposure, then vary gain and white balance per frame (default: Pi camera only)",
    )
    parser.add_argument("--jitter-seed", metavar="N", type=int, help="repeat the same variation")
    parser.add_argument(
        "--countdown", metavar="S", type=not_negative, help="warning (default: 3 on a terminal, else 0)"
    )
    parser.add_argument(
        "--sync-interval", metavar="S", type=positive, default=1.0, help="what a power cut may cost (default: 1)"
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
        help="send what is recorded as well, as in tcp://desk:5000; several times for several receivers",
    )
    parser.add_argument(
        "--identity",
        metavar="FILE",
        help="of tls://, the same on both machines: python -m pi_capture make-identity FILE makes it",
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
        type=positive,
        nargs="?",
        const=1.0,
        help="keep only what moves: this much of the picture, at least (default: 1)",
    )
    lasting.add_argument("--pre-roll", metavar="S", type=not_negative, default=2.0, help="and before it (default: 2)")
    lasting.add_argument("--post-roll", metavar="S", type=not_negative, default=5.0, help="and after it (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one summary object on stdout")
    parser.add_argument("--json-lines", action="store_true", help="print a status a second on stdout, then the summary")
    parser.add_argument(
        "--metrics", metavar="PORT", type=_port, help="answer Prometheus at http://127.0.0.1:PORT/metrics"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--list-cameras", action="store_true", help="show what is plugged in, and end")
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
