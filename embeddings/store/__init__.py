"""Vectors on disk: the append-only HDF5 store."""
