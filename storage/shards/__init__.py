"""Frames for training in the files that loaders read in order: tar shards, Parquet, a folder of pictures."""
