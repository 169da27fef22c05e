"""The order in which pictures are shown, where a file doesn't say it: from the kinds of its packets.

An anchor (an I- or P-picture) is shown when all packets up to the next anchor have been decoded; the B-pictures between
them are shown before it. A damaged packet of unknown kind counts as an anchor that pictures of any place may follow.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

H264_SLICE, H264_IDR = 1, 5
H264_SLICES = range(H264_SLICE, H264_IDR + 1)
H264_B_SLICE = range(0x9C, 0xB0)  # a slice's second byte: bits 1 (first block 0), then 00111 or 010 (slice type 6 or 1)
MPEG_PICTURE = {  # each has a group for what only a B-picture has
    "mpeg4": re.compile(rb"\x00\x00\x01\xb6([\x80-\xbf])?"),
    "mpeg2video": re.compile(rb"\x00\x00\x01\x00.([\x18-\x1f\x58-\x5f\x98-\x9f\xd8-\xdf])?", re.DOTALL),
}


class ShownOrder:
    """Where pictures are shown that come behind lost ones."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._anchors: deque[int] = deque()  # from that of the latest picture on
        self._unknown: set[int] = set()
        self._alone: set[int] = set()
        self._depth = 1  # packets by which a B-picture is shown earlier than decoded

    def note(self, number: int, packet: Packet[Any]) -> bool:
        """Take note of each packet, in the order of decoding; returns whether its kind is known."""
        depth = _depth_of(packet, self._stream)
        if depth is None:
            self._unknown.add(number)
        if not depth:
            self._anchors.append(number)
        if packet.is_keyframe and stands_alone(packet, self._stream):
            self._alone.add(number)
        self._depth = max(self._depth, depth or 0)
        return depth is not None

    def stands_alone(self, number: int) -> bool:
        """Whether the picture of a packet is shown when all before it have been: its place is its packet's."""
        return number in self._alone

    def earliest(self, number: int) -> int | None:
        """The first place that the picture of a packet can have; None if it comes when its turn is over.

        A decoder that has lost a keyframe takes the pictures behind it for older ones: they come too early.
        """
        anchors = self._anchors
        while len(anchors) > 1 and anchors[1] <= number:
            anchors.popleft()
        if anchors and anchors[0] == number:
            return anchors[1] - 1 if len(anchors) > 1 else number
        if anchors and number < anchors[0]:
            return 0 if anchors[0] in self._unknown else None
        return max(anchors[0] if anchors else 0, number - self._depth)


def stands_alone(packet: Packet[Any], stream: VideoStream) -> bool:
    """Whether all pictures behind a keyframe are shown behind it: only then they can be counted from it on."""
    if stream.codec_context.name == "h264":
        return any(unit[0] & 0x1F == H264_IDR for unit in _h264_units(packet, stream))
    return not stream.codec_context.has_b_frames


def _depth_of(packet: Packet[Any], stream: VideoStream) -> int | None:
    """0 of an anchor, 2 of a B-picture that others refer to; 1 of any other, and of codecs that are not known here.

    None if there is no picture in the packet.
    """
    codec = stream.codec_context.name
    if codec in MPEG_PICTURE:
        pictures = MPEG_PICTURE[codec].findall(bytes(packet))
        return int(any(pictures)) if pictures else None
    if codec != "h264":
        return 1
    slices = [unit for unit in _h264_units(packet, stream) if unit[0] & 0x1F in H264_SLICES]
    for unit in slices:
        if unit[0] & 0x1F == H264_SLICE and len(unit) > 1 and unit[1] in H264_B_SLICE:
            return 2 if unit[0] & 0x60 else 1
    return 0 if slices else None


def _h264_units(packet: Packet[Any], stream: VideoStream) -> Iterator[bytes]:
    """The first two bytes of each unit: behind a start code, or behind its length if the private data begin with 1."""
    data, private = bytes(packet), stream.codec_context.extradata or b""
    if private[:1] != b"\1":
        yield from (
            data[match.end() : match.end() + 2] for match in re.finditer(rb"\x00\x00\x01(?=.)", data, re.DOTALL)
        )
        return
    if len(private) < 5:
        return
    width, at = (private[4] & 3) + 1, 0
    while at + width < len(data):
        yield data[at + width : at + width + 2]
        at += width + int.from_bytes(data[at : at + width], "big")
