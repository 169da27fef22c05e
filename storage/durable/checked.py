"""JSON objects that carry a checksum of themselves: a flipped bit is reported and not believed.

The check is the last member, ``"crc32"``: the CRC-32 of every byte before its name. People can read the text, and other
programs too. Texts that older versions wrote have none.
"""

from __future__ import annotations

from zlib import crc32

_MEMBER = b'"crc32":'


def sealed(text: bytes) -> bytes:
    """The text of a JSON object with its check.

    >>> sealed(b'{"label":1}')
    b'{"label":1,"crc32":2494189800}'
    """
    head = text.rstrip()[:-1].rstrip() + (b",\n " if b"\n" in text else b",")
    return b"%b%b%d}" % (head, _MEMBER, crc32(head))


def check(text: bytes) -> bool | None:
    """Whether a text still matches its check; None if it has no check."""
    head, member, tail = text.rpartition(_MEMBER)
    return tail == b"%d}" % crc32(head) if member else None
