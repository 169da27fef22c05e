"""The formats of recordings: the contract of one, the table of all, and a package for each."""
