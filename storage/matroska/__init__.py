"""Matroska files that only grow: `muxer` writes them, `reader` reads them, whole or cut off.

For what the blocks contain see `storage.formats.video`.
"""
