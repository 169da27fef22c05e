"""The HDF5 format, through h5py: `writer` and `reader` of pictures, `recording` for what they share with features.

`transaction` is the file object under h5py, which keeps a file whole at every moment.
"""
