"""The contract of a format: what its writer does, and what only some writers, recordings and formats can do.

Every format has a `Writer` and a reader derived from `storage.recording.Recording`. The other protocols here are
abilities. A format without one works all the same. To find out, ask ``isinstance(writer, KeepsSamples)``, or look into
the format's row of the table (`storage.formats.table.Format`), which names the functions. The conformance suite is
`storage.testing.FormatTests`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from storage.frame import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.formats.png.head import Head
    from storage.tracks.sample_track import SampleTrack

Encoded = TypeVar("Encoded")


# --------------------------------------------------------------------------------------------------------- every format


class FrameWriter(Protocol[Encoded]):
    """Stores frames in order, encoded in parallel.

    The work is split: `encode` does all that costs processor time and changes nothing, so several threads call it at
    once; `append` puts the finished bytes where they belong, in order, from one thread. `sync` may run in a third
    thread while frames are appended.
    """

    @property
    def bytes_written(self) -> int:
        """Bytes appended so far by this writer."""

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Add facts about the recording (camera, counts …), JSON-serialisable; stored by `close` at the latest."""

    def encode(self, frame: Frame, label: str | None = None) -> Encoded:
        """Turn a frame into what `append` takes. Pure; safe to call from several threads at once.

        `label` is the frame's class if it is known already. Only a format whose row has `takes_labels` is given one.
        """

    def append(self, encoded: Encoded) -> None:
        """Take the next frame, in order. Raises OSError when the disk is full; the writer stays usable for `sync`."""

    def sync(self) -> int:
        """Return the number of frames that now survive a power cut: all appended before the call, at least."""

    def close(self) -> int:
        """Sync, store the facts and let go of the target; returns what `sync` does.

        A recording without frames leaves nothing behind. May be called again.
        """


class Writer(FrameWriter[Encoded], Protocol[Encoded]):
    """A recording being made, or continued.

    The constructor takes the target's path and the options of the format's row by their names. It takes up what a crash
    has left there. It raises `storage.errors.StorageError` with one line if the target can't be recorded into, and
    `storage.errors.BusyError` if another writer holds it.
    """

    @property
    def next_index(self) -> int:
        """The index that this recording's first frame gets: 0, or what follows the frames that are there."""

    @property
    def held(self) -> tuple[Path, int]:
        """What is recorded into, a file or a directory: its path, and the descriptor under which it is open and locked.

        The recording ends when the path leads to something else (`storage.durable.files.check_in_place`).
        """


# --------------------------------------------------------------------------------------------- what some writers can do


@runtime_checkable
class KeepsSamples(Protocol):
    """A writer that keeps sensors and sound as well (`Format.keeps_samples`).

    Its constructor also takes `tracks`, the sequence of `storage.SampleTrack` that will come; `pictures`, whether
    frames will; and `more_tracks`, whether `add_tracks` is called before the first frame. Samples of a track come from
    one thread at a time, which may be another than that of the pictures. All raise as `Writer.append` does.
    """

    def add_tracks(self, tracks: Sequence[SampleTrack]) -> None:
        """Take more tracks, before the first frame. Raises `StorageError` if the file that is continued has others."""

    def begin_at(self, timestamp_ns: int) -> None:
        """Set the recording's begin: nothing older comes, though pictures may be stored before older samples."""

    def append_samples(self, name: str, timestamp_ns: int, samples: NDArray[Any]) -> None:
        """Add samples to a track, as `storage.tracks.sample_track` checks them; the first one has that time."""

    def pad_samples(self, name: str, timestamp_ns: int, count: int) -> None:
        """Fill a pause of so many samples with NaN or zeros."""

    def flush_samples(self, name: str) -> None:
        """Write what waits for a block to be full."""

    def describe_track(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add facts about a track, JSON-serialisable."""


@runtime_checkable
class TakesPackets(Protocol):
    """A writer that can store packets as a camera's own encoder made them (`storage.Frame.packet`)."""

    @property
    def takes_packets(self) -> tuple[str, int] | None:
        """The codec and the quality of the packets; None if it stores pixels after all."""


@runtime_checkable
class MayBeLossy(Protocol):
    """A writer whose frames may come back changed; those of others come back pixel-identical."""

    @property
    def lossless(self) -> bool:
        """Whether the frames come back pixel-identical."""


# ---------------------------------------------------------------------------------------- what some recordings can give


@runtime_checkable
class FramesAreFiles(Protocol):
    """A recording whose frames are files, in the directories of their classes: they are sorted by moving them."""

    def file(self, index: int) -> Path:
        """The file of a frame."""

    def head(self, index: int) -> Head:
        """The frame's facts, without its picture."""


@runtime_checkable
class KeepsFeatures(Protocol):
    """A recording that keeps numbers of each frame in place of its picture."""

    @property
    def features(self) -> Features:
        """The numbers of all frames; read when they are asked for."""


class Features(Protocol):
    """Rows of float32: ``features[i]`` has shape (n,), ``features[i:j]`` has shape (j - i, n)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.float32]: ...


@runtime_checkable
class BringsSound(Protocol):
    """A video whose sound goes along when it is converted to one for other programs."""

    @property
    def begin_ns(self) -> int:
        """The time of the first frame on the file's own clock, which is that of its sound too."""


# ------------------------------------------------------------------ what a format can do to a recording at a standstill


class WriteLabels(Protocol):
    """The function that `Format.write_labels` names."""

    def __call__(
        self, path: Path, labels: Sequence[str | None], classes: Sequence[str] = (), *, of_track: str = ""
    ) -> None:
        """Give each frame of a recording its class, None for those that have none: all of them, or after a crash none.

        Parameters
        ----------
        path : path
        labels : sequence
            The class of each frame.
        classes : sequence of str
            All classes in the order of their numbers, for a format that numbers them.
        of_track : str
            Which track of pictures: `storage.recording.Recording.of_track`.

        Raises
        ------
        StorageError
            The file is being recorded into, or can't be written to.
        ValueError
            There are not as many labels as frames.
        """


@dataclass(frozen=True, slots=True)
class Part:
    """A session of a recording, on its way into another recording of the same format.

    Attributes
    ----------
    path : path
        The recording; it does not change meanwhile.
    indices : range
        The session's frames in it; empty where it has sensors or sound alone.
    labels : sequence
        The class of each of these frames, by its name in the other recording.
    session : mapping
        What is known of it (`storage.sessions`); where it begins is not true of the other recording.
    """

    path: Path
    indices: range
    labels: Sequence[str | None]
    session: Mapping[str, Any]


class Append(Protocol):
    """The function that `Format.append` names."""

    def __call__(
        self,
        path: Path,
        parts: Sequence[Part],
        classes: Sequence[str] = (),
        *,
        after: int,
        progress: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Add parts of other recordings behind what a recording holds, as they are stored, or make a new one of them.

        All of them are there on return, and durable; after a failure or a crash none is.

        Parameters
        ----------
        path : path
        parts : sequence of Part
            At least one.
        classes : sequence of str
            All classes in the order of their numbers, for a format that numbers them; those that are there keep theirs.
        after : int
            How many sessions are there already: the parts were chosen by these.
        progress : callable, optional
            Told how many frames are done.

        Returns
        -------
        list of str
            What a person should know, such as frames that were damaged and still are.

        Raises
        ------
        StorageError
            A part can't be added as it is stored: it has another size, codec or tracks; or it is damaged. Or the
            recording can't be written to, or has changed meanwhile.
        OSError
            The disk is full.
        """


class Repair(Protocol):
    """The function that `Format.repair` names."""

    def __call__(self, path: Path) -> str | None:
        """Complete a recording that a crash has cut off.

        Returns
        -------
        str or None
            What was done, in words that follow the recording's name; None if it was whole.

        Raises
        ------
        StorageError
            It is being recorded into, is damaged, or can't be written to.
        """
