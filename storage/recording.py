"""What every recording at rest has in common, whatever its format: a lazy sequence of frames, with labels and times."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from storage.errors import StorageError
from storage.frame import Frame, size_text
from storage.names import natural_key, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.tracks.sample_reader import SampleReader


class Recording(Sequence[Frame]):
    """A recording at rest: ``recording[i]``, slices, iteration; a frame is read when it is asked for.

    A format's reader derives from it, hands on the path, and gives `__len__`, `read`, `labels` and `timestamps_ns`.

    Attributes
    ----------
    has_pictures : bool
        Whether there are pictures to read; what keeps none raises `StorageError` from `read`, and says so.
    may_lack_pictures : bool
        Whether pictures of some frames may be lost without harm to the others, which only decoding shows: `read` raises
        `storage.errors.DamagedPictureError` for these.
    has_times : bool
        Whether it is known when each frame was taken; if not, they count as 30 a second, or as their files do.
    independent : bool
        Whether each frame is read without others, so that several threads read faster than one.
    of_track : str
        What distinguishes this track of pictures from the first one of its file, if it is another: files beside the
        recording have it in their names (`storage.tracks.picture_tracks`).
    lost_labels : list of str or None
        None: where a label can't be read, `labels` raises `StorageError`. A list that is put here learns of it instead,
        and the frame has no label.
    """

    has_pictures = True
    may_lack_pictures = False
    of_track = ""
    lost_labels: list[str] | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def has_times(self) -> bool:
        return True

    @property
    def independent(self) -> bool:
        return True

    @property
    def path(self) -> Path:
        """The file or directory."""
        return self._path

    @abstractmethod
    def read(self, index: int) -> Frame:
        """The frame at ``0 <= index < len(self)``. Raises `StorageError` if it is damaged."""

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """The picture of a frame alone, (height, width, 3) uint8 RGB, where its time and metadata are not wanted."""
        return self.read(index).pixels

    @property
    @abstractmethod
    def labels(self) -> Sequence[str | None]:
        """The class of each frame, None where it has none yet."""

    @property
    def class_names(self) -> list[str]:
        """The classes of its labels: in the order of their numbers if they have some, else in that of directories."""
        return sorted({label for label in self.labels if label is not None}, key=natural_key)

    @property
    @abstractmethod
    def timestamps_ns(self) -> Sequence[int]:
        """The capture time of each frame, in nanoseconds."""

    @property
    def shown_ns(self) -> Sequence[int]:
        """When each frame is shown, in nanoseconds of the recording's own time, which grows from 0 on.

        A media file's own time is the one that players show. It may begin before the first frame, with sound or
        samples, and passes over the pauses between sessions. In other formats time begins with the first frame.
        """
        return elapsed_ns(self.timestamps_ns)

    @property
    def names(self) -> list[str]:
        """What the label journal calls each frame."""
        return list(map(number_name, range(len(self))))

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What is known of each recording session, oldest first (see `storage.sessions`); empty if nothing is."""
        return []

    @property
    def identity(self) -> str | None:
        """What distinguishes it from other recordings, and stays while it grows, is repaired, or gets labels.

        That is its first session's id. None if nothing is known that does.
        """
        with suppress(StorageError):
            return next((one.get("id") for one in self.sessions), None)
        return None

    @property
    def tracks(self) -> Sequence[SampleReader]:
        """The tracks of sensors and sound that are in it.

        `SampleReader.checked` says whether they have checksums, and `SampleReader.resolution_ns` how exactly a file
        keeps times: those that `merge-streams`, a receiver of several senders or another program made, to a
        millisecond.
        """
        return []

    @property
    def interrupted(self) -> bool:
        """Whether it has no end: it is being recorded just now, or a crash has cut it off."""
        return False

    @property
    def damage(self) -> Sequence[str]:
        """Damage outside the frames: what was there can't be counted as frames."""
        return ()

    def check(self, index: int) -> None:
        """Read everything that is stored of a frame. Raises `StorageError` if it is damaged."""
        self.read(index)

    @property
    def size(self) -> str:
        """The size of a frame: ``128x128`` pixels. Raises `StorageError` if the first one is damaged."""
        return size_text(self[0].pixels.shape)

    def close(self) -> None:
        """Close open files; no frame can be read afterwards."""

    def __reduce__(self) -> tuple[type[Recording], tuple[Any, ...]]:
        """A copy, in any process, opens the recording anew. A reader with more arguments than the path adds them."""
        return type(self), (self.path,)

    def __repr__(self) -> str:
        name = f"{type(self).__name__} {printable(str(self.path))}"
        try:
            classes = ", ".join(map(printable, self.class_names))
            facts = [*self._facts(), *([f"classes {classes}"] if classes else [])]
        except Exception:  # a debugger shows a closed one too
            return f"<{name}>"
        return f"<{name}: {', '.join(facts)}>"

    def _repr_html_(self) -> str:
        """The recording's facts and classes, for a notebook."""
        from html import escape

        counts = Counter(self.labels)
        rows = [(name, counts[name]) for name in self.class_names]
        if counts[None]:
            rows.append(("no class", counts[None]))
        table = "".join(f"<tr><td>{escape(printable(name))}</td><td>{count}</td></tr>" for name, count in rows)
        facts = f"{type(self).__name__}: {', '.join(self._facts())}"
        return f"<b>{escape(printable(str(self.path)))}</b><br>{escape(facts)}<table>{table}</table>"

    def _facts(self) -> list[str]:
        """The number of frames, their size, and the time from the first to the last, as far as they can be read."""
        facts = [f"{len(self)} frame{'s' * (len(self) != 1)}"]
        with suppress(StorageError, IndexError):  # the first frame is damaged, or there is none
            facts.append(self.size)
            first_ns, last_ns = self._first_and_last_ns()
            if last_ns > first_ns:  # another clock may have begun in between
                facts.append(f"{(last_ns - first_ns) / 1e9:.1f} s from first to last")
        return facts

    def _first_and_last_ns(self) -> tuple[int, int]:
        times_ns = self.timestamps_ns
        return times_ns[0], times_ns[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return _Slice(self, range(*index.indices(len(self))))
        position = range(len(self))[index]  # negative indices, and IndexError past the end
        return self.read(position)


class _Slice(Sequence[Frame]):
    """Some frames of a recording, in order, still unread."""

    def __init__(self, recording: Recording, indices: range) -> None:
        self._recording = recording
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return _Slice(self._recording, self._indices[index])
        return self._recording.read(self._indices[index])

    def __repr__(self) -> str:
        return f"<{len(self)} of {self._recording!r}>"


def number_name(index: int) -> str:
    """What the label journal calls a frame that is not a file."""
    return f"{index:08d}"


def elapsed_ns(timestamps_ns: Sequence[int]) -> list[int]:
    """Nanoseconds from the first frame on. Where a clock runs back, a new one has begun, and no time has passed."""
    passed = [max(0, after - before) for before, after in pairwise(timestamps_ns)]
    return list(accumulate(passed, initial=0))[: len(timestamps_ns)]


def ranges_of(numbers: Iterable[int]) -> Iterator[range]:
    """Ascending numbers of frames, as ranges of those that follow each other.

    >>> list(ranges_of([1, 5, 6, 7]))
    [range(1, 2), range(5, 8)]
    """
    for _, group in groupby(enumerate(numbers), lambda item: item[1] - item[0]):
        run = [number for _, number in group]
        yield range(run[0], run[-1] + 1)
