"""Frames of recordings in the order of an epoch, read ahead by threads: what `storage.keras` and `storage.torch` share.

Frames are read in blocks of frames that follow each other, because that is how files are read fast. Shuffling takes the
blocks of all recordings in random order and mixes the frames of several, a window. Where each frame is read without
others, the frames of a window are read in their mixed order, and none waits in memory; else block by block.
"""

from __future__ import annotations

import os
import secrets
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np

from storage.convert.transfer import in_order, in_words
from storage.errors import DamagedPictureError, StorageError
from storage.formats.contract import KeepsFeatures
from storage.formats.png.directory import note_of_left_out
from storage.formats.table import open_recording
from storage.labels.classes import names_of_labels
from storage.recording import Recording, ranges_of
from storage.tracks.picture_tracks import note_of_several

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 64  # frames that are read together, at most
SMALLEST_BLOCK = 8
READ_TOGETHER = 16  # frames that a thread reads at a time, where each is read without others
MOST_OPEN = 64
NO_LABEL = -1
ALL = slice(None)

Which: TypeAlias = Literal["required", "optional"] | None
Rows: TypeAlias = "NDArray[Any]"
Positions: TypeAlias = "NDArray[np.int64]"
Piece: TypeAlias = "tuple[Positions, Rows]"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which frames of which recordings are trained on: N in all.

    Attributes
    ----------
    paths : tuple of Path
        The recordings.
    track : str or int or None
        Which track of pictures, of each video.
    sources : ndarray, shape (N,), int32
        Of which recording each frame is, by its place in `paths`.
    indices : ndarray, shape (N,), int64
        Its number there.
    numbers : ndarray, shape (N,), int32
        The number of its class; `NO_LABEL` for those without one.
    class_names : list of str
    image_size : (int, int) or None
        Height and width that pictures are scaled to.
    shape, dtype
        Of what is kept of a frame: (height, width, 3) uint8, or (256,) float32.
    independent : bool
        Whether each frame is read without others, in all recordings.
    countable : bool
        Whether it is known how many can be read; in some videos only decoding shows it.
    labels : tuple of lists
        The labels of each recording as they were.
    """

    paths: tuple[Path, ...]
    track: str | int | None
    sources: NDArray[np.int32]
    indices: Positions
    numbers: NDArray[np.int32]
    class_names: list[str]
    image_size: tuple[int, int] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    independent: bool
    countable: bool
    labels: tuple[list[str | None], ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def empty(self, count: int) -> Rows:
        """Room for what is kept of so many frames."""
        return np.empty((count, *self.shape), self.dtype)


def select(
    paths: Path | str | Sequence[Path | str],
    *,
    track: str | int | None = None,
    frames: slice = ALL,
    labels: Which = "required",
    class_names: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Selection:
    """Choose frames of recordings; the parameters are those of `storage.keras.dataset_from_recording`.

    Raises
    ------
    StorageError
        There is no recording, one has no frames, none has a class, or one has other classes than `class_names`; or
        none of the frames can be decoded.
    """
    places = tuple(map(Path, [paths] if isinstance(paths, str | os.PathLike) else paths))
    if not places:
        raise StorageError("no recording is given to train on")
    stored: list[list[str | None]] = []
    named: list[list[str | None]] = []
    independent, countable = True, True
    for path in places:
        several = note_of_several(path, "track=NAME") if track is None else None
        for note in (several, note_of_left_out(path)):
            if note is not None:
                warnings.warn(note, stacklevel=3)
        with open_recording(path, track=track) as recording:
            stored.append(list(recording.labels))
            called = names_of_labels(recording)
            named.append([None if label is None else called.get(label, label) for label in stored[-1]])
            independent &= recording.independent and not isinstance(recording, KeepsFeatures)
            countable &= not recording.may_lack_pictures
            if isinstance(recording, KeepsFeatures) and image_size is not None:
                raise StorageError(f"{path} keeps features and no pictures, so there is none to scale")
            if not len(stored[-1][frames]):
                raise StorageError(f"{path} holds no frame" + (" in that stretch" if stored[-1] else ""))
    names = _class_names(places, named, labels, class_names)
    known = {name: number for number, name in enumerate(names)}
    chosen = [np.sort(np.arange(len(found))[frames]) for found in stored]
    numbers = [np.array([known.get(label or "", NO_LABEL) for label in found], np.int32) for found in named]
    if labels == "required":
        chosen = [of[numbered[of] != NO_LABEL] for of, numbered in zip(chosen, numbers, strict=True)]
    selection = Selection(
        places,
        track,
        np.repeat(np.arange(len(places), dtype=np.int32), [len(of) for of in chosen]),
        np.concatenate(chosen),
        np.concatenate([numbered[of] for of, numbered in zip(chosen, numbers, strict=True)]),
        names,
        image_size,
        (),
        np.dtype(np.uint8),
        independent,
        countable,
        tuple(stored),
    )
    if not len(selection):
        raise StorageError(_no_class(places))
    with Frames(selection) as reader:
        first = reader.first()
    if first is None:
        raise StorageError(f"{_together(places)}: none of its frames can be decoded")
    return replace(selection, shape=first.shape, dtype=first.dtype)


def _class_names(
    paths: Sequence[Path], named: Sequence[list[str | None]], which: Which, given: Sequence[str] | None
) -> list[str]:
    found = sorted({label for labels in named for label in labels if label is not None})
    if given is None:
        return found
    for path, labels in zip(paths, named, strict=True):
        unknown = sorted({label for label in labels if label is not None} - set(given))
        if which is not None and unknown:
            raise StorageError(f"{path} has frames of class {unknown[0]!r}, which class_names lacks")
    return list(given)


def _no_class(paths: Sequence[Path]) -> str:
    with open_recording(paths[0]) as recording:
        by_hand = f"python -m classify {paths[0]}"
        from_file = f"python -m storage labels {paths[0]} --import FILE"
        return f"{_together(paths)}: no frame has a class; label it: {by_hand if recording.has_pictures else from_file}"


def _together(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


# ---------------------------------------------------------------------------------------------------------------- order


@dataclass(frozen=True, slots=True)
class Order:
    """In which order the frames of a selection come.

    Attributes
    ----------
    shuffle : bool
    seed : int
    shuffle_bytes : int
        How many bytes of frames are mixed with each other.
    """

    shuffle: bool = True
    seed: int = field(default_factory=lambda: secrets.randbits(32))
    shuffle_bytes: int = 128_000_000

    def windows(self, selection: Selection, epoch: int, share: tuple[int, int] = (0, 1)) -> list[Window]:
        """The windows of an epoch; `share` (i, n) takes every n-th block from the i-th on."""
        mixed_bytes = self.shuffle_bytes if selection.independent else self.shuffle_bytes // 2  # and the next window
        most = max(1, mixed_bytes // share[1] // (int(np.prod(selection.shape)) * selection.dtype.itemsize))
        # Where a video is decoded from a keyframe on, small blocks would decode the same pictures again and again.
        size = max(SMALLEST_BLOCK, min(BLOCK, most // 8)) if selection.independent else BLOCK
        random = np.random.default_rng([self.seed, epoch])
        blocks = _blocks(selection, size)
        if self.shuffle:
            blocks = [blocks[at] for at in random.permutation(len(blocks))]
        windows: list[list[Positions]] = []
        for block in blocks[share[0] :: share[1]]:
            if windows and sum(map(len, windows[-1])) + len(block) <= most:
                windows[-1].append(block)
            else:
                windows.append([block])
        together = [np.concatenate(window) for window in windows]
        mixed = [random.permutation(window) for window in together] if self.shuffle else together
        return [Window(*pair) for pair in zip(windows, mixed, strict=True)]


@dataclass(frozen=True, slots=True)
class Window:
    """Blocks of frames, and the order in which the frames of all of them come."""

    blocks: list[Positions]
    mixed: Positions


def _blocks(selection: Selection, size: int) -> list[Positions]:
    """Frames of one recording that follow each other in the selection, up to `size` of them."""
    begins = np.flatnonzero(np.diff(selection.sources)) + 1
    of_recordings = np.split(np.arange(len(selection)), begins)
    return [positions[at : at + size] for positions in of_recordings for at in range(0, len(positions), size)]


# -------------------------------------------------------------------------------------------------------------- reading


class Frames:
    """Reads frames of a selection, from several threads at once; a context manager.

    Attributes
    ----------
    selection : Selection
    damaged : dict
        The numbers of frames that could not be decoded, by their recording.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int], tuple[Recording, list[int]]] = {}  # the last used last; and how often in use
        self.damaged: dict[Path, set[int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            while self._open:
                self._open.popitem()[1][0].close()

    def read(self, positions: Positions, rows: Rows) -> Positions:
        """Put what is kept of frames into the first rows of an array: of all but those that can't be decoded.

        Returns the positions of those frames. Raises `StorageError` if one is damaged otherwise, or has another size
        than the first.
        """
        kept: list[int] = []
        sources = self.selection.sources[positions]
        for run in np.split(positions, np.flatnonzero(np.diff(sources)) + 1):
            with self._opened(int(self.selection.sources[run[0]])) as recording:
                indices = self.selection.indices[run].tolist()
                for position, index, row in zip(run.tolist(), indices, self._rows(recording, indices), strict=True):
                    if row is None:
                        continue
                    if row.shape != rows.shape[1:]:
                        what = "has another size than those before; give image_size"
                        raise StorageError(f"{recording.path}: frame {index} {what}")
                    rows[len(kept)] = row  # at once: memory of one frame after the other is the same, and in the cache
                    kept.append(position)
        return np.array(kept, np.int64)

    def first(self) -> Rows | None:
        """What is kept of the first frame that can be decoded."""
        for source, index in zip(self.selection.sources.tolist(), self.selection.indices.tolist(), strict=True):
            with self._opened(source) as recording:
                for row in self._rows(recording, [index]):
                    if row is not None:
                        return row
        return None

    def _rows(self, recording: Recording, indices: list[int]) -> Iterator[Rows | None]:
        if isinstance(recording, KeepsFeatures):
            for run in ranges_of(indices):
                yield from recording.features[run.start : run.stop]
            return
        for index in indices:
            try:
                yield _scaled(recording.pixels(index), self.selection.image_size)
            except DamagedPictureError:
                self.damaged.setdefault(recording.path, set()).add(index)
                yield None

    @contextmanager
    def _opened(self, source: int) -> Iterator[Recording]:
        """A recording. Threads share it where that is faster; else each has its own. Some stay open."""
        key = source, 0 if self.selection.independent else threading.get_ident()
        with self._lock:
            recording, users = self._open.pop(key) if key in self._open else (self._open_anew(source), [0])
            self._open[key] = recording, users
            users[0] += 1
            idle = [key for key, (_, users) in self._open.items() if not users[0]]
            for key in idle[: max(0, len(self._open) - MOST_OPEN)]:
                self._open.pop(key)[0].close()
        try:
            yield recording
        finally:
            with self._lock:
                users[0] -= 1

    def _open_anew(self, source: int) -> Recording:
        """Raises if labels changed or files moved since the selection was made; new frames do no harm."""
        recording = open_recording(self.selection.paths[source], track=self.selection.track)
        before = self.selection.labels[source]
        if list(recording.labels[: len(before)]) != before:
            recording.close()
            raise StorageError(f"{recording.path} has other labels than at first; make its dataset anew")
        return recording


def _scaled(pixels: Rows, size: tuple[int, int] | None) -> Rows:
    if size is None or pixels.shape[:2] == size:
        return pixels
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


class Memory:
    """Room for batches, used again when nothing refers to a batch any more: new pages cost more than filling them.

    It begins with a page, and so TensorFlow takes an array over as it is.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: list[mmap] = []

    def rows(self, count: int) -> Rows:
        """Rows without values: at most `shape[0]` of them."""
        try:
            room = self._free.pop()
        except IndexError:
            room = mmap(-1, int(np.prod(self._shape)) * self._dtype.itemsize, MAP_PRIVATE | MAP_ANONYMOUS)
        whole = np.frombuffer(room, self._dtype)  # which every view of it keeps alive
        weakref.finalize(whole, self._free.append, room)
        return whole.reshape(self._shape)[:count]


def read_epoch(
    selection: Selection,
    order: Order,
    epoch: int,
    batch_size: int,
    *,
    memory: Memory | None = None,
    share: tuple[int, int] = (0, 1),
    skip: int = 0,
    threads: int | None = None,
) -> Iterator[tuple[Rows, NDArray[np.int32]]]:
    """The batches of an epoch, read ahead by threads: (batch, …) of what is kept of frames, and their class numbers.

    Parameters
    ----------
    memory : Memory, optional
        Where the batches are put; by default it is that of this epoch, and they are of the selection's type.
    share : (int, int)
        (i, n): every n-th block of frames, from the i-th on.
    skip : int
        How many batches to leave out at the beginning.
    threads : int, optional
        By default one for each processor.
    """
    windows = order.windows(selection, epoch, share)
    skipped = skip * batch_size
    while windows and skipped >= len(windows[0].mixed):
        skipped -= len(windows.pop(0).mixed)
    if windows:
        windows[0] = replace(windows[0], mixed=windows[0].mixed[skipped:])
    memory = memory or Memory((batch_size, *selection.shape), selection.dtype)
    with Frames(selection) as reader:
        read = _in_mixed_order if selection.independent else _by_blocks
        pieces = read(reader, windows, batch_size, memory, threads or os.cpu_count() or 1)
        for positions, rows in _batches(pieces, batch_size):
            yield rows, selection.numbers[positions]
        for path, indices in reader.damaged.items() if epoch == 0 else ():
            left_out = in_words(sorted(indices))
            warnings.warn(f"{path}: left out, as they can't be decoded: frames {left_out}", stacklevel=2)


def _in_mixed_order(
    reader: Frames, windows: list[Window], batch_size: int, memory: Memory, threads: int
) -> Iterator[Piece]:
    """Several threads fill a batch."""
    positions = np.concatenate([np.empty(0, np.int64), *(window.mixed for window in windows)])

    def parts() -> Iterator[tuple[Positions, Rows, Rows]]:
        for begin in range(0, len(positions), batch_size):
            batch = positions[begin : begin + batch_size]
            rows = memory.rows(len(batch))
            for at in range(0, len(batch), READ_TOGETHER):
                yield batch[at : at + READ_TOGETHER], rows[at : at + READ_TOGETHER], rows

    def read(part: tuple[Positions, Rows, Rows]) -> tuple[Positions, Rows]:
        return reader.read(*part[:2]), part[2]

    for _, group in groupby(in_order(read, parts(), threads, ahead=2), key=lambda part: id(part[1])):
        filled = list(group)
        yield np.concatenate([positions for positions, _ in filled]), filled[0][1]


def _by_blocks(reader: Frames, windows: list[Window], batch_size: int, memory: Memory, threads: int) -> Iterator[Piece]:
    def read(block: Positions) -> Piece:
        rows = reader.selection.empty(len(block))
        kept = reader.read(block, rows)
        return kept, rows[: len(kept)]

    most = max((len(window.blocks) for window in windows), default=0)  # the next window, while one is trained on
    blocks = in_order(read, (block for window in windows for block in window.blocks), threads, -(-most // threads))
    for window in windows:
        pieces = [piece for piece in islice(blocks, len(window.blocks)) if len(piece[0])]
        if not pieces:
            continue
        positions, rows = _joined(pieces)
        by_position = np.argsort(positions)
        wanted = window.mixed[np.isin(window.mixed, positions)]
        at = by_position[np.searchsorted(positions, wanted, sorter=by_position)]
        for begin in range(0, len(at), batch_size):
            part = at[begin : begin + batch_size]
            batch = memory.rows(len(part))
            for row, place in zip(batch, part, strict=True):
                row[...] = rows[place]
            yield positions[part], batch


def _batches(pieces: Iterator[Piece], batch_size: int) -> Iterator[Piece]:
    """The same rows, in batches of one size but for the last."""
    waiting: list[Piece] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece[0])
        while count >= batch_size:
            positions, rows = _joined(waiting)
            yield positions[:batch_size], rows[:batch_size]
            count -= batch_size
            waiting = [(positions[batch_size:], rows[batch_size:])] if count else []
    if count:
        yield _joined(waiting)


def _joined(pieces: list[Piece]) -> Piece:
    whole = [piece for piece in pieces if len(piece[0])]
    if len(whole) == 1:
        return whole[0]
    return np.concatenate([positions for positions, _ in whole]), np.concatenate([rows for _, rows in whole])
