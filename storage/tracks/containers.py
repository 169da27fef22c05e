"""Media files of any program: which kinds are opened, and that nothing but the file itself is read for one.

What is in them is taken apart by `storage.tracks.demux`, and their pictures are read by `storage.formats.movie.reader`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import StorageError

if TYPE_CHECKING:
    from av.container import InputContainer

Marks = tuple[tuple[int, bytes], ...]
CONTAINERS: tuple[tuple[str, Marks], ...] = (
    ("matroska", ((0, b"\x1a\x45\xdf\xa3"),)),
    ("mov", ((4, b"ftyp"),)),
    ("mov", ((4, b"moov"),)),
    ("mov", ((4, b"mdat"),)),
    ("mov", ((4, b"wide"),)),
    ("mov", ((4, b"free"),)),
    ("avi", ((0, b"RIFF"), (8, b"AVI "))),
    ("nut", ((0, b"nut/multimedia container\0"),)),
    ("ogg", ((0, b"OggS"),)),
    ("mpeg", ((0, b"\0\0\1\xba"),)),
    ("mpegts", ((0, b"\x47"), (188, b"\x47"), (376, b"\x47"))),
    ("mpegts", ((4, b"\x47"), (196, b"\x47"), (388, b"\x47"))),
    ("flv", ((0, b"FLV\1"),)),
    ("asf", ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),)),
    ("gif", ((0, b"GIF8"),)),
    ("apng", ((0, b"\x89PNG"), (12, b"IHDR"), (37, b"acTL"))),
    ("apng", ((0, b"\x89PNG"), (12, b"IHDR"), (58, b"acTL"))),  # FFmpeg's have the shape of a pixel before it
    ("mjpeg", ((0, b"\xff\xd8\xff"),)),
    ("mpegvideo", ((0, b"\0\0\1\xb3"),)),
    ("m4v", ((0, b"\0\0\1\xb0"),)),
    # With its parameters, or a delimiter of whole pictures: in H.264, these bytes would be of kinds that are not first.
    *(("hevc", ((0, start + first),)) for start in (b"\0\0\1", b"\0\0\0\1") for first in (b"\x40\1", b"\x46\1")),
    ("h264", ((0, b"\0\0\0\1"),)),
    ("h264", ((0, b"\0\0\1"),)),
    # Of a broadcast, a recorder may begin anywhere: within a packet, too.
    *(("mpegts", tuple((at + n * 188, b"\x47") for n in range(4))) for at in range(1, 188)),
)
"""The marks of each kind of file that is opened, and where they stand. FFmpeg gets the kind, and does not choose among
its own hundreds: some of those are texts that name other files and hosts."""
SOUND_FILES: tuple[tuple[str, Marks], ...] = (
    ("wav", ((0, b"RIFF"), (8, b"WAVE"))),
    ("wav", ((0, b"RF64"), (8, b"WAVE"))),
    ("flac", ((0, b"fLaC"),)),
    ("aiff", ((0, b"FORM"), (8, b"AIFF"))),
    ("caf", ((0, b"caff"),)),
    ("mp3", ((0, b"ID3"),)),
    *(("mp3", ((0, b"\xff" + second),)) for second in (b"\xfb", b"\xf3", b"\xf2")),
    *(("aac", ((0, b"\xff" + second),)) for second in (b"\xf1", b"\xf9")),
)
LABEL_FILES = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}
"""FFmpeg's names for the kinds of text that only the end of a file's name shows."""
FRONT_BYTES = 1024
COVER_PICTURE = 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC


def is_media(path: Path) -> bool:
    """Whether FFmpeg takes a file apart, by its first bytes or, for labels, its name."""
    try:
        with path.open("rb") as file:
            front = file.read(FRONT_BYTES)
    except OSError:
        return False
    return kind_of(front, (*CONTAINERS, *SOUND_FILES)) is not None or path.suffix.lower() in LABEL_FILES


def open_movie(path: Path) -> InputContainer:
    """Open a video of any program; no other file is read for it. Raises StorageError if it is none."""
    return open_container(path, CONTAINERS, "a video")


def open_container(path: Path, known: Sequence[tuple[str, Marks]], what: str) -> InputContainer:
    """Open a file of any program if it is of one of the known kinds, by their marks as in `CONTAINERS`.

    Raises
    ------
    StorageError
        It is not; `what` is what it should have been.
    """
    import av

    try:
        with path.open("rb") as file:
            front = file.read(FRONT_BYTES)
        kind = kind_of(front, known)
        if kind is None:
            raise StorageError(f"{path} is not {what} that can be read" + ("" if front else " (it is empty)"))
        # No options: up to version 17, PyAV corrupts memory with them for files whose head does not list the streams.
        return av.open(f"file:{path}", format=kind, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise StorageError(f"{path}: {error.strerror}") from None
        raise StorageError(f"{path} is not {what} that can be read ({reason_of(error)})") from None


def kind_of(front: bytes, known: Sequence[tuple[str, Marks]]) -> str | None:
    """The first kind whose marks are in the first `FRONT_BYTES` of a file; None if there is none."""
    fitting = (kind for kind, marks in known if all(front.startswith(mark, at) for at, mark in marks))
    return next(fitting, None)


def reason_of(error: BaseException) -> str:
    """What FFmpeg, or the system, says about its failure."""
    return getattr(error, "strerror", None) or str(error)
