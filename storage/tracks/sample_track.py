"""What a track of samples is: a sensor's or a microphone's. How a file keeps it is in `storage.tracks.samples`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST_SOUND_RATE = 4000  # samples a second; telephones have 8000
TAKEN_NAMES = ("camera", "labels")  # by the pictures and the labels of a recording
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True, slots=True)
class Codec:
    """How samples are kept.

    Attributes
    ----------
    name : str
        What we call it.
    track : str
        What Matroska calls it.
    dtype : str
        Of the samples.
    bits : int
        Of a sample, where that is meant.
    encoder : str or None
        FFmpeg's name; None if samples are kept as they are.
    """

    name: str
    track: str
    dtype: str
    bits: int = 0
    encoder: str | None = None


CODECS = (
    Codec("f32", "A_PCM/FLOAT/IEEE", "<f4", 32),
    Codec("s16", "A_PCM/INT/LIT", "<i2", 16),
    Codec("flac", "A_FLAC", "<i2", 16, "flac"),
    Codec("opus", "A_OPUS", "<i2", 0, "libopus"),
)


@dataclass(frozen=True, slots=True)
class SampleTrack:
    """A track of samples.

    Attributes
    ----------
    name : str
    rate : float
        Samples a second of each channel, as stated.
    channels : int
    codec : str
        ``f32`` (32-bit floats, the default), ``s16``, ``flac`` (lossless, of 16-bit samples) or ``opus`` (lossy).
    unit : str
        Of the values, such as ``m/s²``.
    labels : tuple of str
        Of the channels; empty, or one each.
    source : str
        Where they come from, for people.

    Raises
    ------
    ValueError
        There can be no such track.
    """

    name: str
    rate: float
    channels: int = 1
    codec: str = "f32"
    unit: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        known = [codec.name for codec in CODECS]
        if self.codec not in known:
            raise ValueError(f"{self.name}: unknown codec {self.codec!r}; known are {', '.join(known)}")
        if not self.name or not self.name.isprintable():
            raise ValueError("a track of samples needs a name")
        if not 0 < self.rate <= 1e7:
            raise ValueError(f"{self.name}: a rate of {self.rate:g} makes no sense")
        most = {"flac": 8, "opus": 2}.get(self.codec, 64)
        if not 1 <= self.channels <= most:
            raise ValueError(f"{self.name}: {self.codec} takes 1 to {most} channels, not {self.channels}")
        if self.labels and len(self.labels) != self.channels:
            raise ValueError(f"{self.name}: {len(self.labels)} labels for {self.channels} channels")
        if self.codec == "flac" and (self.rate != int(self.rate) or self.rate > 655350):
            raise ValueError(f"{self.name}: flac takes whole rates up to 655350, not {self.rate:g}")
        if self.codec == "opus" and self.rate not in OPUS_RATES:
            raise ValueError(f"{self.name}: opus takes the rates {', '.join(map(str, OPUS_RATES))}, not {self.rate:g}")

    @property
    def kept_as(self) -> Codec:
        return next(codec for codec in CODECS if codec.name == self.codec)

    @property
    def is_sound(self) -> bool:
        """Whether players can play it as sound; a sensor's samples are not."""
        return self.kept_as.dtype == "<i2" and self.rate >= LOWEST_SOUND_RATE

    def fits(self, other: SampleTrack) -> bool:
        """Whether the other's samples can go on in this track."""
        mine, theirs = ((one.rate, one.channels, one.kept_as.dtype) for one in (self, other))
        return mine == theirs

    def tags(self) -> dict[str, str]:
        """What the file's tags say of it from the beginning on."""
        facts = {"UNIT": self.unit, "CHANNEL_LABELS": "|".join(self.labels), "SOURCE": self.source}
        return {"STATED_RATE": f"{self.rate:.12g}", **{name: text for name, text in facts.items() if text}}


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Samples of a track that follow each other without a gap, as they are stored together.

    Attributes
    ----------
    begin_ns : int
        When the first one was taken, in nanoseconds: of the file's time, or, where `Recording.tracks` gives the block,
        on the clock of the pictures' timestamps.
    samples : ndarray, shape (n, channels)
        As they are stored: int16, int32, float32 or float64.
    padding : bool
        Whether they were not measured: the recorder filled a pause with NaN, or with zeros.
    """

    begin_ns: int
    samples: NDArray[Any]
    padding: bool = False


def check_samples(track: SampleTrack, samples: Any) -> NDArray[Any]:
    """Samples as an array of shape (n, channels) and the track's type, a copy.

    Floats in a track of integers are sound, from -1 to 1.

    Raises
    ------
    ValueError
        They don't fit the track.
    """
    import numpy as np

    array = np.asarray(samples)
    if array.ndim == 1 and track.channels == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.shape[1] != track.channels or array.dtype.kind not in "fiu":
        raise ValueError(
            f"samples of {track.name} are a (n, {track.channels}) array of numbers; this one is {array.shape} "
            f"{array.dtype}"
        )
    wanted = np.dtype(track.kept_as.dtype)
    if wanted.kind == "i" and array.dtype.kind == "f":
        array = np.clip(np.rint(np.nan_to_num(array) * 32768), -32768, 32767)
    elif wanted.kind == "i" and len(array) and not -32768 <= array.min() <= array.max() <= 32767:
        raise ValueError(f"samples of {track.name} are 16-bit integers; these go from {array.min()} to {array.max()}")
    return np.array(array, wanted, order="C")
