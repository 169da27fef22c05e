"""The labels of a video recording, which are its subtitles: while it is written, and given to a finished one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from storage.errors import StorageError
from storage.formats.video.clock import DEFAULT_STEP_US
from storage.formats.video.file import LABELS, PICTURES, is_ours, muxer_for, open_locked, recover
from storage.labels.table import write_table
from storage.matroska.elements import Id
from storage.matroska.track import Block

LABEL_SECONDS = 1.0


class LabelTrack:
    """Turns the label of each frame into subtitles.

    A label that goes on is written each second, as the recording may be cut off; with `once` it is written at its end.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._label: str | None = None
        self._since = 0

    def place(self, time: int, label: str | None) -> list[Block]:
        """The subtitles that end where a frame with that label comes."""
        if label == self._label and (label is None or self._once or time - self._since < LABEL_SECONDS * 1e6):
            return []
        ended = self._label
        self._label, since, self._since = label, self._since, time
        return [Block(LABELS, since, ended.encode(), duration=time - since)] if ended is not None else []


def write_labels(path: Path, labels: Sequence[str | None], classes: Sequence[str] = (), *, of_track: str = "") -> None:
    """Give each frame of a recording its class: a `storage.formats.contract.WriteLabels`.

    A video has the names of classes and no numbers. Labels of another program's video go into a table beside it
    (`storage.labels.table.write_table`).
    """
    if not is_ours(path):
        write_table(path, labels, of_track)
        return
    fd = -1
    try:
        fd, hidden = open_locked(path, create=False)
        found, _ = recover(fd, path, named=hidden is None)
        if found is None or hidden is not None:
            raise StorageError(f"{path} holds no frame")
        times = found.blocks[PICTURES].times.tolist() if PICTURES in found.tracks else []
        if len(times) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(times)} frames")
        muxer = muxer_for(fd, path.parent, found, without_labels=True)
        runs = LabelTrack(once=True)
        end = times[-1] + (times[-1] - times[-2] if len(times) > 1 else DEFAULT_STEP_US)
        for time, label in zip([*times, end], [*labels, None], strict=True):
            for block in runs.place(time, label):
                muxer.add(block)
        muxer.finish({**found.track_tags, None: found.tags})  # from here on these count
        muxer.close()
        if found.head.index_at is not None:
            muxer.make_void(Id.CUES, found.head.index_at)
        for at in found.blocks[LABELS].positions.tolist():
            muxer.make_void(Id.CLUSTER, at)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; the labels are as they were") from None
    finally:
        if fd >= 0:
            os.close(fd)
