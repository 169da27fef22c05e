"""The codecs of video recordings: FFmpeg's settings for each, to encode one picture and to decode one.

Each encoder hands a picture's packet out at once, so a crash loses nothing inside of it.
`storage.formats.video.writer` stores the packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from storage.errors import OptionError
from storage.formats.colours import to_rgb
from storage.formats.png.codec import MAX_PIXELS

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.video.codeccontext import VideoCodecContext
    from numpy.typing import NDArray

Size = tuple[int, int]
SMALL = (352, 288)  # FFV1 encodes pictures up to this size in one slice, which takes fewer bytes, larger ones in four
MOST_BETWEEN_KEYS = 30
KEY_SECONDS = 1.0
NS_A_PICTURE = 500_000  # what decoding takes, however small the picture
BT601 = (6, 1, 6, 1)  # matrix, primaries, transfer, range by their numbers in the standard: what PyAV converts to

_X264 = {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1"}
_X264_PARAMETERS = "annexb=0:keyint=infinite:scenecut=0:stitchable=1"


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec of the table.

    Attributes
    ----------
    name : str
        What the command line calls it.
    track : str
        What Matroska calls it.
    encoder, decoder : str
        What FFmpeg calls them.
    pixel_format : str
        What the encoder takes.
    lossless : bool
        Whether RGB comes back pixel-identical.
    intra : bool
        Whether each picture is encoded and decoded without others.
    options : mapping
        The encoder's.
    crf : (int, int, int) or None
        Lowest, usual and highest value of the quality, lower is better; None without a choice.
    ns_a_pixel : float
        Roughly what decoding takes for each pixel on one core; it limits the distance of keyframes.
    """

    name: str
    track: str
    encoder: str
    decoder: str
    pixel_format: str
    lossless: bool
    intra: bool
    options: Mapping[str, str] = field(default_factory=dict)
    crf: tuple[int, int, int] | None = None
    ns_a_pixel: float = 0.0


CODECS = (
    Codec("ffv1", "V_FFV1", "ffv1", "ffv1", "bgr0", True, True, {"level": "3", "slicecrc": "1"}),
    Codec("h264-lossless", "V_MPEG4/ISO/AVC", "libx264rgb", "h264", "bgr0", True, False, _X264, None, 25),
    Codec("h264", "V_MPEG4/ISO/AVC", "libx264", "h264", "yuv420p", False, False, _X264, (1, 18, 51), 5),
    Codec("mjpeg", "V_MJPEG", "mjpeg", "mjpeg", "yuvj420p", False, True, {}, (2, 2, 31)),
)


def find_codec(name: str) -> Codec:
    """The codec of that name. Raises StorageError if there is none."""
    for codec in CODECS:
        if codec.name == name:
            return codec
    raise OptionError(f"unknown codec {name!r}; known are {', '.join(codec.name for codec in CODECS)}")


def check_crf(codec: Codec, crf: int | None) -> None:
    """Raise StorageError if the codec can't have that quality."""
    if crf is None:
        return
    if codec.crf is None:
        raise OptionError(f"{codec.name} is lossless: it has no --crf; h264 and mjpeg do")
    lowest, _, highest = codec.crf
    if not lowest <= crf <= highest:
        raise OptionError(f"--crf {crf}: {codec.name} takes {lowest} (best) to {highest}")


def usual_crf(codec: Codec) -> int:
    """The default quality of a lossy codec."""
    assert codec.crf is not None
    return codec.crf[1]


def most_between_keys(codec: Codec, size: Size) -> int:
    """How many frames a keyframe may serve, so that on a desktop machine any of them shows in some 20 ms."""
    if codec.intra:
        return 1
    fitting = 20e6 / (NS_A_PICTURE + codec.ns_a_pixel * size[0] * size[1])
    return max(4 if codec.lossless else 10, min(MOST_BETWEEN_KEYS, round(fitting)))


class KeySchedule:
    """When the next picture has to be a keyframe.

    Parameters
    ----------
    most_between : int
        See `most_between_keys`.
    """

    def __init__(self, most_between: int) -> None:
        self._most_between = most_between
        self.restart()

    def restart(self) -> None:
        """Begin anew: the last picture was not stored."""
        self._frames, self._since = 0, 0

    def is_due(self, time: int) -> bool:
        """Whether the picture of that time, in microseconds, has to be one."""
        due = self._frames % self._most_between == 0 or time - self._since >= KEY_SECONDS * 1e6
        if due:
            self._frames, self._since = 0, time
        self._frames += 1
        return due


class Encoder:
    """Encodes pictures of one size; one object for one thread.

    Attributes
    ----------
    size : (int, int)
        Their width and height, in pixels.
    private : bytes
        What the decoder needs first; known once a picture has been encoded.
    """

    def __init__(self, codec: Codec, size: Size, crf: int | None, *, threads: int) -> None:
        import av
        from av.codec.context import Flags
        from av.video.reformatter import VideoReformatter

        context = av.CodecContext.create(codec.encoder, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = size
        context.pix_fmt = _pixel_format(codec, size)
        context.time_base = Fraction(1, 1_000_000)
        context.framerate = Fraction(30)  # nominal: the recording has its own timestamps
        context.thread_count = threads
        context.flags |= Flags.global_header
        options = dict(codec.options)
        if codec.name == "ffv1":
            context.gop_size = 1
            options["slices"] = "1" if size[0] <= SMALL[0] and size[1] <= SMALL[1] else "4"
        elif codec.name == "mjpeg":
            context.qmin = context.qmax = crf or usual_crf(codec)
        else:
            options["x264-params"] = _X264_PARAMETERS
            options |= {"qp": "0"} if codec.lossless else {"crf": str(crf or usual_crf(codec))}
        if not codec.lossless and codec.intra is False:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = BT601
        context.options = options
        self.size = size
        self._codec = codec
        self._context = context
        self._scaler = VideoReformatter()
        self._count = 0

    @property
    def private(self) -> bytes:
        return self._context.extradata or b""

    def encode(self, pixels: NDArray[np.uint8], *, key: bool = True) -> bytes:
        """The packet of a picture. Raises ValueError if the codec can't have pictures of this size.

        Parameters
        ----------
        pixels : ndarray, shape (height, width, 3), uint8, RGB
        key : bool
            Whether it must be decoded without others.
        """
        import av
        from av.video.frame import PictureType

        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture = self._scaler.reformat(picture, format=self._context.pix_fmt)
        picture.pts = self._count * 33_333  # for its rate control; the recording has its own
        picture.time_base = self._context.time_base
        picture.pict_type = PictureType.I if key else PictureType.NONE
        self._count += 1
        try:
            (packet,) = self._context.encode(picture)
        except (av.FFmpegError, OSError, ValueError) as error:
            size = f"{self.size[0]}x{self.size[1]}"
            raise ValueError(f"{self._codec.name} can't encode pictures of {size} ({error})") from None
        return bytes(packet)


class Decoder:
    """Decodes packets of one track, in order from a keyframe on; one object for one thread at a time."""

    def __init__(self, codec: Codec, size: Size, private: bytes, *, threads: int) -> None:
        import av
        from av.codec.context import ThreadType
        from av.video.reformatter import VideoReformatter

        context: VideoCodecContext = av.CodecContext.create(codec.decoder, "r")  # type: ignore[assignment]  # of a video codec
        context.width, context.height = size
        if codec.name == "ffv1":
            context.pix_fmt = codec.pixel_format
        context.extradata = private
        context.thread_count = threads
        context.thread_type = ThreadType.SLICE  # threads that take a frame each would hand it out late
        context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}
        self._context = context
        self._size = size
        self._scaler = VideoReformatter()

    def decode(self, data: bytes) -> av.VideoFrame:
        """The picture of a packet.

        Raises
        ------
        ValueError
            There is none in it, or one of another size.
        """
        import av

        try:
            pictures = self._context.decode(av.Packet(data))
        except (av.FFmpegError, ValueError) as error:
            raise ValueError(f"its picture can't be decoded ({error})") from None
        if len(pictures) != 1 or pictures[0].is_corrupt or (pictures[0].width, pictures[0].height) != self._size:
            raise ValueError("its picture can't be decoded")
        return pictures[0]

    def restart(self) -> None:
        """Forget the pictures so far: a keyframe comes next."""
        self._context.flush_buffers()

    def to_rgb(self, picture: av.VideoFrame) -> NDArray[np.uint8]:
        """The pixels of a picture: shape (height, width, 3), uint8, RGB, C-contiguous."""
        return to_rgb(picture, self._scaler)


def _pixel_format(codec: Codec, size: Size) -> str:
    """The encoder's; a lossy codec keeps colour at full resolution where the size is odd."""
    if not codec.lossless and (size[0] % 2 or size[1] % 2):
        return codec.pixel_format.replace("420", "444")
    return codec.pixel_format
