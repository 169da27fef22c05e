"""Decoding what other programs and cameras made: one policy for recordings (`reader`) and cameras (`pi_capture`).

A picture has the place of its packet. A damaged picture is left out, and the rest goes on. If reading fails, the
pictures that the decoder still holds come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from storage.formats.movie.order import ShownOrder
from storage.tracks.demux import NO_TIMES

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

DECODING_TIMES_ONLY = ("avi",)
CHUNK_HEAD = 8  # bytes: an AVI's index has the position of a chunk, FFmpeg's packet that of its data
FILLER = -1  # the number of a packet whose picture is not wanted
END_OF_JPEG, CODES, SCAN = b"\xff\xd9", b"\xff\xc4", b"\xda"
USUAL_CODES = bytes.fromhex("0002010303020403050504040000017d")
"""How many codes of each length the usual Huffman table has (ITU-T T.81, table K.5)."""
NO_CODE = bytes(64)  # the usual codes make no such run; with others, a black picture has longer ones


def is_untimed(container: InputContainer) -> bool:
    """Whether the file keeps no times at all: FFmpeg makes them up from a nominal rate."""
    return bool(container.format.flags & NO_TIMES)


def is_counted(container: InputContainer) -> bool:
    """Whether the file does not say when a picture is shown, only in which order pictures are decoded."""
    return is_untimed(container) or container.format.name in DECODING_TIMES_ONLY


def indexed_times(container: InputContainer, stream: VideoStream) -> Mapping[int | None, int | None]:
    """The decoding time of each packet by its position, as an AVI file's index has it; empty without a whole one.

    FFmpeg counts what it finds: behind packets whose heads are damaged, its times are too early.
    """
    if container.format.name not in DECODING_TIMES_ONLY or len(stream.index_entries) != stream.frames:
        return {}
    return {entry.pos + CHUNK_HEAD: entry.timestamp for entry in stream.index_entries}


def decode(
    packets: Iterable[tuple[int, Packet[Any]]], stream: VideoStream, *, counted: bool, lossy: bool = False
) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """Decode the packets of a track.

    Parameters
    ----------
    packets : iterable of (int, Packet)
        Each with its number in the order of decoding, from a packet on that is decoded on its own. Their times are
        overwritten.
    stream : VideoStream
    counted : bool
        See `is_counted`: then pictures are numbered as they are shown.
    lossy : bool
        Whether parts of packets may have been lost on the way: then those that FFmpeg marks are damaged. Of a file it
        marks whole ones too, where parts were joined.

    Yields
    ------
    int
        The number of the picture's packet.
    VideoFrame or None
        None for a picture that is damaged.

    Raises
    ------
    av.FFmpegError, OSError, ValueError
        What `packets` raised, after the last picture.
    """
    import av

    order = ShownOrder(stream) if counted and stream.codec_context.has_b_frames else None
    jpeg = stream.codec_context.name == "mjpeg"
    if jpeg and not stream.codec_context.is_open:  # else a part of another picture stands for what is damaged
        stream.codec_context.options = {**stream.codec_context.options, "err_detect": "explode"}
    expected, lost, given = None, False, 0  # given: up to which number each was handed out, or is damaged
    for number, packet in _to_the_end(packets, stream):
        expected, given = (number, number) if expected is None else (expected, given)
        if packet is not None:
            packet.pts = packet.dts = number  # the decoder hands it on with the picture
            if order is not None and number != FILLER and not order.note(number, packet):
                lost = True  # of MPEG-2, FFmpeg says nothing
        try:
            if packet is not None and ((lossy and packet.is_corrupt) or (jpeg and is_torn_jpeg(bytes(packet)))):
                lost, given = True, given + 1
                yield number, None
                continue
            pictures = stream.decode(packet)
        except av.error.FFmpegError:
            lost = True
            if number != FILLER:
                given += 1
                yield number, None
            continue
        while pictures:
            picture = pictures.pop(0)
            place = expected if picture.pts is None else picture.pts
            if place == FILLER:
                continue
            if order is not None and order.stands_alone(place):
                yield from ((missing, None) for missing in range(given, place))  # FFmpeg said nothing of them
                given = place
            elif order is not None:
                earliest = order.earliest(place)
                if lost and earliest is None:
                    given += 1
                    yield place, None
                    continue
                place = max(expected, earliest or 0) if lost else expected
            expected, given = place + 1, given + 1
            yield place, None if picture.is_corrupt else picture
            del picture  # FFmpeg uses its memory again


def _to_the_end(
    packets: Iterable[tuple[int, Packet[Any]]], stream: VideoStream
) -> Iterator[tuple[int, Packet[Any] | None]]:
    """The packets with data, then packets that make the decoder hand out all that it holds.

    A decoder with several threads loses the pictures that it still holds if one of them fails while it is drained.
    So each is pushed out by a packet first.
    """
    import av

    key: Packet[Any] | None = None
    failure = None
    try:
        for number, packet in packets:
            if packet.size:
                key = packet if packet.is_keyframe or key is None else key
                yield number, packet
    except (av.error.FFmpegError, OSError, ValueError) as error:
        failure = error
    context = stream.codec_context
    for _ in range(context.thread_count + int(context.has_b_frames)):
        if key is not None:  # FFmpeg's own memory: a thread of the decoder can't free Python's while this one waits
            yield FILLER, key
    yield FILLER, None
    if failure is not None:
        raise failure


def is_torn_jpeg(data: bytes, *, ends: bool = True) -> bool:
    """Whether a JPEG lacks its end, or zeros stand for a part of it. FFmpeg makes a picture of it all the same.

    Zeros are taken for a gap where the picture has the usual Huffman codes, as cameras' pictures have: those make no
    long run of zeros. What comes after the end does not count. Some USB cameras leave the end out: without `ends`, only
    the zeros count.
    """
    scan = 2
    while data[scan : scan + 1] == b"\xff" and (marker := data[scan + 1 : scan + 2]) != SCAN:
        fills = marker == b"\xff"
        scan += 1 if fills else 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    end = data.rfind(END_OF_JPEG)
    if end < scan:
        if ends:
            return True
        end = len(data)
    usual = USUAL_CODES in data[:scan] or CODES not in data[:scan]
    return usual and data.find(NO_CODE, scan, end) >= 0
