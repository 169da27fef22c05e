"""The commands of `python -m storage`, by their kind; each module has a table of its own."""
