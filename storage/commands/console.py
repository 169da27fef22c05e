"""What command lines share: progress, JSON, failures, and the types of arguments."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from storage.amounts import parse_seconds
from storage.errors import OptionError, StorageError, missing_library
from storage.names import printable

if TYPE_CHECKING:
    from tqdm import tqdm


@contextmanager
def progress_line(what: str, unit: str = " frames") -> Iterator[Callable[[int, int], None] | None]:
    """A progress line, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with new_bar(sys.stderr, desc=printable(what), unit=unit) as bar:

        def show(done: int, total: int) -> None:
            if total and bar.total != total:
                bar.total = total
                bar.refresh()
            bar.update(done - bar.n)

        yield show


def new_bar(terminal: TextIO, *, leave: bool = False, **options: str) -> tqdm[NoReturn]:
    """A line that changes, of tqdm, which shows nothing where 0 columns or lines are reported, as on a serial line."""
    from tqdm import tqdm

    columns, lines = os.get_terminal_size(terminal.fileno())
    size = {} if columns and lines else {"ncols": columns or 80, "nrows": lines or 24}
    return tqdm(file=terminal, leave=leave, **options, **size)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name, what ``--help`` says, and the functions that take its arguments and run it."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    description: str | None = None


def track_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--track``, for all commands that read frames."""
    parser.add_argument(
        *("--track", "--dataset"),
        metavar="NAME|NUMBER",
        help="use this track of pictures, or this dataset of an HDF5 file (default: the first track)",
    )


def report_tracks(path: Path, track: str | None) -> None:
    """List a file's tracks of pictures on stderr, if it has several and the user chose none."""
    from storage.tracks.containers import is_media

    if track is None and is_media(path):
        from storage.tracks.picture_tracks import note_of_several

        if (note := note_of_several(path, "--track NAME")) is not None:
            print_line(note, sys.stderr)


def report_left_out(data_dir: Path) -> None:
    """Report pictures in a data directory that no command takes."""
    from storage.formats.png.directory import note_of_left_out

    if (note := note_of_left_out(data_dir)) is not None:
        print_line(note, sys.stderr)


def report_held_out(data_dir: Path) -> None:
    """Report that frames of a data directory are held out, and don't go along with it."""
    from storage.formats.png.directory import SPLIT_NAME

    if not (data_dir / SPLIT_NAME).is_file():
        return
    from storage.care.split import is_split

    with suppress(StorageError):  # where this matters, the command itself raises it
        if is_split(data_dir):
            others = f"those in val_{data_dir.name} are not among its frames"
            print_line(f"{data_dir} is split: {others}; python -m storage split {data_dir} --undo", sys.stderr)


def print_line(line: str, file: TextIO | None = None) -> None:
    """Print a line. Names in it may come from anywhere: they neither break it nor reach the terminal as commands."""
    print(printable(line), file=file)


class Parser(argparse.ArgumentParser):
    """One whose complaints about arguments are printed like any line."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def print_json(content: dict[str, Any]) -> None:
    import json

    print(json.dumps({"version": 1, **content}))


def report_done(args: argparse.Namespace, content: dict[str, Any], text: str) -> None:
    """Print what was done: with ``--json`` as an object, else as a line."""
    if args.json:
        print_json(content)
    else:
        print_line(text)


def fail(reason: object, status: int = 1, program: str = "storage") -> int:
    print_line(f"{program}: {reason}", sys.stderr)
    return status


def run_command(
    run: Callable[[], int],
    fail: Callable[[object, int], int],
    *,
    about: object,
    interrupted: str,
    usage: tuple[type[Exception], ...] = (),
    failures: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command line, and turn its failures into one line and an exit status.

    Parameters
    ----------
    run : callable
        Does what is asked for, and returns the exit status.
    fail : callable
        Prints a reason, and returns the status that it is given.
    about : object
        What an error of the system is about, if it names no file.
    interrupted : str
        What Ctrl-C means; its status is 130.
    usage, failures : tuple of exception types
        Besides those of `storage`: wrong usage, with status 2, and what can fail, with status 1.
    """
    wrong_usage: tuple[type[Exception], ...] = (OptionError, *usage)
    foreseen: tuple[type[Exception], ...] = (StorageError, *failures)
    try:
        status = run()
        sys.stdout.flush()
    except wrong_usage as error:
        status = fail(error, 2)
    except foreseen as error:
        status = fail(error, 1)
    except ModuleNotFoundError as error:
        status = fail(missing_library(error), 1)
    except BrokenPipeError:  # the program that read our output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
    except OSError as error:
        status = fail(f"{error.filename or about}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        status = fail(interrupted, 130)
    return status


# ------------------------------------------------------------------------------------------------ the arguments' types


def finite(text: str) -> float:
    """Parse a number; refuse nan and infinity."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def offset(text: str) -> tuple[str, float]:
    name, separator, seconds = text.rpartition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must be a file's name and seconds, such as B=+1.25")
    return name, finite(seconds)


def share(text: str) -> float:
    number = finite(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0 and less than 1, such as 0.1")
    return number


def positive(text: str) -> float:
    number = finite(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0")
    return number


def duration(text: str) -> float:
    seconds = parse_seconds(text)
    if seconds is None or seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give seconds, or a time such as 10min or 1h")
    return seconds


def duration_above_0(text: str) -> float:
    if (seconds := duration(text)) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0")
    return seconds


def count(text: str) -> int:
    return _whole(text, 1)


def seed(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, {least} or more")
    return int(text)


class Version(argparse.Action):
    """Looks up the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"pi-capture {version('pi-capture')}")
        except PackageNotFoundError:
            print("pi-capture, not installed")
        parser.exit()
