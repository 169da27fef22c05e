"""The recordings of several senders until they are one file: ``NAME.parts`` beside it.

A recording is removed only when every packet of it has been found again in the new file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from pi_capture.errors import UsageError
from storage.errors import StorageError
from storage.formats.table import VIDEO


def prepare(target: Path) -> Path:
    """Make the directory of the recordings, and return it. Raises UsageError or StorageError if that fails."""
    if target.suffix.lower() != VIDEO.suffix:
        raise UsageError(f"{target}: several senders are recorded into a {VIDEO.suffix}")
    if target.exists():
        raise StorageError(f"{target} is there already, and several senders need a new file; choose another name")
    parts = parts_of(target)
    if parts.is_dir() and any(parts.glob(f"*{VIDEO.suffix}")):
        raise StorageError(f"{parts} is what an interrupted recording left; {how_to_merge(target)}")
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{parts}: {error.strerror}") from None
    return parts


def parts_of(target: Path) -> Path:
    """Return the directory of the senders' recordings."""
    return target.with_suffix(".parts")


def how_to_merge(target: Path) -> str:
    return (
        f"all that came is safe in {parts_of(target)}; bring it together, and then remove that: "
        f"python -m storage merge-streams {quote(str(target))} {quote(str(parts_of(target)))}/*{VIDEO.suffix}"
    )


def bring_together(target: Path, parts: Sequence[Path]) -> int:
    """Make one file of the recordings, and remove them when everything is in it; returns its size in bytes."""
    from storage.streams.merge import merge_streams

    merged = merge_streams(target, parts)
    for number, (path, track, _) in enumerate(merged.tracks):
        if not _same_packets(path, track.number, target, number):
            raise StorageError(f"{target} is not what was received: track {number} is not that of {path}")
    for path in parts:
        path.unlink()
    return target.stat().st_size


def _same_packets(path: Path, number: int, merged: Path, place: int) -> bool:
    from itertools import zip_longest

    from storage.tracks.demux import open_media, packets_of

    with open_media(path) as one, open_media(merged) as other:
        pairs = zip_longest(packets_of(one, number), packets_of(other, place))
        return all(a is not None and b is not None and bytes(a) == bytes(b) for a, b in pairs)
