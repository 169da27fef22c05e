"""The commands of `python -m storage`, by their kind; `storage.cli` has the table of them."""
