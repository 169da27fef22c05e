"""Which recordings are trained on and which are held out: whole recordings, or all recordings of whole hosts.

The choice follows from the name alone: every process of a cluster makes the same one, and it stays as it is when more
recordings come. For stretches of a few recordings, balanced by class, see `storage.care.spans`.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Literal

from storage.errors import StorageError
from storage.recording import Recording

TRAIN, VAL = "train", "val"
VAL_SHARE = 0.2

By = Literal["recording", "host"]


def side_of_name(name: str, share: float = VAL_SHARE) -> str:
    """`VAL` for about this share of all names, else `TRAIN`.

    >>> [side_of_name(f"pi{number}") for number in range(5)]
    ['val', 'val', 'train', 'train', 'train']
    """
    return VAL if int.from_bytes(sha256(name.encode(errors="surrogateescape")).digest()[:8]) < share * 2**64 else TRAIN


def choose_side(recording: Recording, path: Path, by: By, share: float = VAL_SHARE) -> str:
    """On which side a recording is.

    Parameters
    ----------
    recording : Recording
    path : path
        The recording's name: the same on each machine.
    by : {"recording", "host"}
        "host": all recordings of a host are on the same side; without a host they go by their names.
    share : float
        How much is held out, roughly: 0 to 1.

    Raises
    ------
    StorageError
        Sessions of a recording come from hosts on both sides.
    """
    hosts = hosts_of(recording) if by == "host" else []
    sides = {side_of_name(host, share): host for host in hosts}
    if len(sides) > 1:
        both = " and ".join(sorted(sides.values()))
        raise StorageError(f"{path} holds frames of {both}, which are on different sides; split it by host first")
    return next(iter(sides), None) or side_of_name(path.as_posix(), share)


def hosts_of(recording: Recording) -> list[str]:
    """The hosts that recorded its sessions, as far as they are known."""
    return sorted({str(session["host"]) for session in recording.sessions if session.get("host")})
