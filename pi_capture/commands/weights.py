"""``export-model``: the default network's weights, fetched or from a file, where every command finds them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from storage.commands.console import Parser, progress_line

EXPORT_MODEL = """\
Make the weights of MobileNet (0.25, 128x128) ready, once: a .tflite file. Without --weights they are
fetched from TensorFlow's model garden (11 MB); an interrupted fetch goes on where it was. No network
on this machine? Run it on another one, take the file along, and give --weights FILE.tflite.
"""


def export_model(arguments: Sequence[str]) -> int:
    """``export-model``; returns the exit status."""
    parser = Parser(
        prog="python -m pi_capture export-model",
        description=EXPORT_MODEL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default="imagenet",
        help="imagenet (default); a copied network, .tflite, or archive, .tgz; the https:// URL of one, perhaps with "
        "#sha256=…; or, with TensorFlow, .keras, .weights.h5 or .pb",
    )
    parser.add_argument("--out", metavar="FILE.tflite", type=Path, help="what to make (default: one in your cache)")
    args = parser.parse_args(arguments)
    from storage.formats.features.export import export_model
    from storage.formats.features.extractor import cache_model
    from storage.formats.features.weights import origin_of

    with progress_line("fetching", " bytes") as progress:
        made = export_model(args.weights, args.out, progress) if args.out else cache_model(args.weights, progress)
    print(made)
    print(f"SHA-256 {origin_of(made)}", file=sys.stderr)
    return 0
