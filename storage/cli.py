"""``python -m storage``: the command line for recordings at rest.

Failures are one line and an exit status: 0 done, 1 failed, 2 wrong usage, 3 done but problems were found.
Each command is a row in a module of `storage.commands`, beside what it takes and does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from storage.commands import batch, datasets, files, gathering, labels, learn
from storage.commands.console import Parser, Version, fail, run_command
from storage.commands.standard_streams import open_standard_streams, stopped_like_ctrl_c

EXAMPLES = """\
examples:
  python -m storage info day1                      classes, counts, sizes, times
  python -m storage info day1 --sheet day1.png     and a picture of them
  python -m storage info day1.mkv --plot tracks.png  its pictures, sensors, sound and labels over time
  python -m storage verify day1                    is every frame whole, and the layout right?
  python -m storage verify day1 --quarantine bad   move what is broken to bad/
  python -m storage split day1 --val 0.1           hold out whole stretches of time: val_day1/
  python -m storage split day1 --undo              undo the split
  python -m storage merge all day1 day2 day3       bring labelled directories together
  python -m storage extract day1.mkv day1          its frames as PNG files, in the directories of their classes
  python -m storage extract clip.mp4 day1 --fps 2  two frames a second of any video
  python -m storage convert day1 day1.mkv          any format into any other, chosen by the name
  python -m storage convert frames out.mp4 --fps 30
  python -m storage features day1 day1.features.h5 256 numbers a frame, for training without the pictures
  python -m storage export day1.mkv files          its tracks: frames, sensors, sound, labels
  python -m storage merge-streams all.mkv A.mkv B.mkv C.wav --sync-on click
  python -m storage labels day1.mkv --export day1.srt   and --import: SRT, WebVTT, ASS, CSV, ELAN, Audacity
  python -m storage manifest recordings            the SHA-256 of each recording: manifest.json
  python -m storage verify --against manifest.json copy   did all of it arrive?
  python -m storage train day1                     learn from its labels: day1.model
  python -m storage batch verify,features all out  each step on each recording of all, once; the same again goes on

exit status: 0 done; 1 failed, in one line; 2 wrong usage; 3 done, but problems were found
"""

GROUPS = (datasets, files, labels, learn, gathering, batch)
COMMANDS = tuple(command for group in GROUPS for command in group.COMMANDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    open_standard_streams()
    args = build_parser().parse_args(arguments)

    def run() -> int:
        with stopped_like_ctrl_c():
            status: int = args.run(args)
        return status

    return run_command(
        run, fail, about=args.command, interrupted="interrupted; nothing is lost, the same command goes on"
    )


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m storage",
        description="Look after recordings: see what they hold, check, merge and split them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version, and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for row in COMMANDS:
        command = commands.add_parser(
            row.name,
            help=row.help,
            description=row.description or row.help.capitalize(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        row.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print one object on stdout")
        command.set_defaults(run=row.run)
    return parser
