"""The HDF5 format. `frames` is its Writer and its Reader; a file that grows and is whole at every moment is made by
`append` and read by `table`."""
