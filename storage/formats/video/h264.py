"""H.264 as encoders deliver it, turned into what a Matroska file holds.

Encoders put a start code before each part of a picture (Annex B of the standard) and repeat their settings before each
keyframe; in Matroska each part has its length before it, and the settings stand once in the track's head ("avcC").
`storage.formats.video.writer` stores the packets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from storage.frame import Packet

START_CODE = re.compile(rb"\x00\x00\x01")
PART_TYPE = 0x1F  # the bits of a part's first byte that tell what it is
SLICE, KEY_SLICE, SETTINGS, PICTURE_SETTINGS = 1, 5, 7, 8
LEFT_OUT = {9, 10, 11, 12}  # marks between pictures and padding, which Matroska has no use for
PLAIN_PROFILES = {66, 77, 88}  # baseline, main, extended: always 4:2:0 with 8 bits


def packet_from_annex_b(data: bytes, number: int) -> Packet:
    """What an H.264 encoder made of one picture, as a packet that a frame can carry.

    Parameters
    ----------
    data : bytes
        With start codes. The settings (SPS and PPS) must come with each keyframe.
    number : int
        See `storage.frame.Packet`.

    Raises
    ------
    ValueError
        There is no picture in it, or a keyframe without its settings.
    """
    parts = list(_parts(data))
    types = [part[0] & PART_TYPE for part in parts]
    key = KEY_SLICE in types
    if not key and SLICE not in types:
        raise ValueError("there is no picture in this H.264 packet")
    settings = [part for part, kind in zip(parts, types, strict=True) if kind == SETTINGS]
    picture_settings = [part for part, kind in zip(parts, types, strict=True) if kind == PICTURE_SETTINGS]
    if key and not (settings and picture_settings):
        raise ValueError("this H.264 keyframe comes without its settings")
    kept = [
        len(part).to_bytes(4, "big") + part
        for part, kind in zip(parts, types, strict=True)
        if kind not in LEFT_OUT and kind not in (SETTINGS, PICTURE_SETTINGS)
    ]
    private = _head(settings, picture_settings) if key else b""
    return Packet("h264", b"".join(kept), number, key, private)


def _parts(data: bytes) -> Iterator[bytes]:
    """The parts of a packet, without start codes and the zeros before them: no part ends with a zero."""
    _, *parts = START_CODE.split(data)
    for part in parts:
        if stripped := part.rstrip(b"\0"):
            yield stripped


def _head(settings: list[bytes], picture_settings: list[bytes]) -> bytes:
    """The settings as the head of a track has them: an AVCDecoderConfigurationRecord of ISO/IEC 14496-15."""
    first = settings[0]
    lengths_of_four, reserved = 0xFC | 3, 0xE0
    head = bytes([1, first[1], first[2], first[3], lengths_of_four, reserved | len(settings)])
    head += b"".join(len(part).to_bytes(2, "big") + part for part in settings)
    head += bytes([len(picture_settings)])
    head += b"".join(len(part).to_bytes(2, "big") + part for part in picture_settings)
    if first[1] in PLAIN_PROFILES:
        return head
    chroma, luma_bits, chroma_bits = _sampling(first)
    return head + bytes([0xFC | chroma, 0xF8 | luma_bits, 0xF8 | chroma_bits, 0])


def _sampling(settings: bytes) -> tuple[int, int, int]:
    """Chroma format (1 is 4:2:0) and the bits beyond 8 of luma and chroma, from an SPS of the high profiles."""
    payload = settings[4:].replace(b"\0\0\3", b"\0\0")
    bits = "".join(f"{byte:08b}" for byte in payload[:32])
    at = 0

    def number() -> int:
        """A number of the Exp-Golomb code: as many bits follow the first 1 as zeros came before it."""
        nonlocal at
        zeros = bits.index("1", at) - at
        at += 2 * zeros + 1
        return int(bits[at - zeros - 1 : at], 2) - 1

    number()  # its own
    chroma = number()
    if chroma == 3:
        at += 1
    return chroma, number(), number()
