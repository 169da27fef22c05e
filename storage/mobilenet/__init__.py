"""MobileNet, for the features format: `extractor` runs it, `export` makes the file that it runs from others."""
