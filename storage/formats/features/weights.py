"""The network that makes features, and the names that its weights have once they are exported.

It is MobileNet v1, width 0.25, 128×128, without its classifier, averaged over the picture.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from storage.errors import StorageError

SIDE = 128
FEATURES = 256
NETWORK = "MobileNet v1 0.25, 128x128, global average pooling"
PREPROCESSING = "uint8 RGB; cut to a square around the centre; scaled to 128x128; x / 127.5 - 1 inside the model"


def cache_directory() -> Path:
    """Where exported models are kept, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pi-capture"


def exported_name(origin: str) -> str:
    """The name of an exported model; `origin` is ``imagenet`` or the SHA-256 of the file it was made from."""
    return f"mobilenet_025_128_{origin[:16]}.tflite"


def origin_of(path: Path) -> str:
    """What stands for a file of weights in the cache: its SHA-256. Raises `StorageError` if it can't be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
