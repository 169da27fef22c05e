"""Matroska files that only grow: `muxer` writes them, `reader` reads them, whole or cut off. What is in the blocks is
nobody's business in here."""
