"""The tracks of pictures in a file that has several: which one is meant, and what the files beside it are called.

Labels of another program's video lie beside it. Those of its first track of pictures are called after the file alone,
as if there were no other; those of a further one after the track too. So they are never mixed up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.errors import NoPictureError, StorageError
from storage.formats.video.file import is_ours
from storage.tracks.containers import is_media
from storage.tracks.demux import Track, file_names, read_tracks

Wanted = str | int | None
"""A track by its name, or by its number among all tracks of the file; None for the first one of pictures."""
NO_PICTURE = "{} has no picture, only sound or other data"


def find_picture_tracks(path: Path) -> list[Track]:
    """The tracks of pictures in a file; none in what is no media file. Raises StorageError if it can't be read."""
    if not path.is_file() or not is_media(path):
        return []
    return [track for track in read_tracks(path) if track.kind == "pictures"]


def choose(pictures: Sequence[Track], wanted: Wanted, path: Path) -> Track:
    """The track that is wanted among a file's tracks of pictures; a name goes before a number.

    Raises
    ------
    StorageError
        There is no such one.
    """
    if not pictures:
        raise NoPictureError(NO_PICTURE.format(path))
    if wanted is None:
        return pictures[0]
    named = [track for track in pictures if track.name == wanted]
    found = named or [track for track in pictures if str(track.number) == str(wanted)]
    if not found:
        raise StorageError(f"{path} has no track of pictures {wanted!r}; it has {listed(pictures)}")
    return found[0]


def listed(pictures: Sequence[Track]) -> str:
    """Tracks for a person to choose from: ``0 camera, 2 phone``."""
    return ", ".join(f"{track.number} {track.name}" for track in pictures)


def of_track(pictures: Sequence[Track], chosen: Track) -> str:
    """The track, in the names of files beside a video; empty for its first track of pictures."""
    return "" if chosen == pictures[0] else file_names(pictures)[chosen.number]


def note_of_several(path: Path, how: str) -> str | None:
    """A note that no track was chosen though there are several; `how` is how to choose. None for one at most."""
    found = several(path)
    if not found:
        return None
    return (
        f"{path} has {len(found)} tracks of pictures: {listed(found)}; this is the first of them, {how} takes another"
    )


def several(path: Path) -> list[Track]:
    """The tracks of pictures in a file, if they are more than one."""
    if not path.is_file() or is_ours(path):  # what we record has one at most
        return []
    found = find_picture_tracks(path)
    return found if len(found) > 1 else []
