"""The failures of storage that a user sees."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote


class StorageError(Exception):
    """A recording can't be made, read or changed.

    The message is one line for the person at the keyboard: what failed, on which file, and what to do.
    """


class BusyError(StorageError):
    """Another program is recording into it, or changing it."""


class GoneError(StorageError):
    """The target of a recording was deleted, moved or replaced meanwhile."""


class DamagedPictureError(StorageError):
    """One picture of a video can't be decoded; others can."""


class NoPictureError(StorageError):
    """A file has no pictures, only sound or other data."""


class OptionError(StorageError):
    """An option or a name that makes no sense for the format, in whatever state the target is; exit status 2."""


def no_directory(directory: Path) -> StorageError:
    """The error for a directory that does not exist or is a file."""
    if directory.exists() or directory.is_symlink():
        return StorageError(f"{directory} is not a directory; choose another name")
    return StorageError(f"{directory} does not exist; create it first: mkdir -p {quote(str(directory))}")


def first_line(error: BaseException) -> str:
    """What a library says about its failure, as far as it fits into one line."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error  # else it is quoted
    lines = str(text).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


EXTRAS = {
    "keras": "train",
    "obstore": "s3",
    "paho": "mqtt",
    "pyarrow": "parquet",
    "ray": "ray",
    "starlette": "studio",
    "tensorflow": "train",
    "uvicorn": "studio",
}
"""The extra of this distribution that a library comes with."""


def missing_library(error: ModuleNotFoundError) -> str:
    """Say which library this Python lacks, and what to do.

    Raises
    ------
    ModuleNotFoundError
        The same, if it is a module of this project: that is a mistake in it.
    """
    name = (error.name or "").partition(".")[0]
    if not name or name in ("pi_capture", "classify", "storage"):
        raise error
    advice = library_advice(EXTRAS.get(name))
    return f"{name} is not installed for {sys.executable}; {advice}"


def library_advice(extra: str | None = None) -> str:
    """How to install the libraries; outside a virtual environment, the wrong Python is the usual cause."""
    if sys.prefix == sys.base_prefix:
        return "run '. .venv/bin/activate' in the project's directory first ('sh scripts/quickstart.sh' makes it)"
    if extra:
        return f"pip install 'pi-capture[{extra}]' brings it"
    return "in the project's directory, 'pip install .' brings what is missing"
