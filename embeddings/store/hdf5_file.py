"""The parts that need HDF5 itself: laying out a new store, and reading a file that is not laid out as ours are.

Such a file is one of the original, or a store of ours without a sound header, because an early version made it or it is
damaged.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from embeddings.errors import StoreLayoutError
from embeddings.store.layout import CRC_BYTES, HEADER_BYTES, ID_BYTES, Layout, ModelStamp, Offsets, header_of
from embeddings.store.provenance import RECORD, RECORD_BYTES, URL_BYTES

_METADATA_BYTES = 8192  # more than HDF5 needs; it allocates them in one piece, before the first dataset
_LONGEST_NAME = 128  # characters of a model's name or digest; two in any script fit into a header


def lay_out(path: Path, *, capacity: int, dim: int, stamp: ModelStamp) -> None:
    """Write an empty store file and sync it. A file at `path` is replaced.

    Raises:
        OSError: there is no room, no permission, or similar.
    """
    if capacity < 1 or dim < 1:
        raise ValueError(f"a store needs at least one row and one dimension, not {capacity} and {dim}")
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # HDF5 reports a file that grows too large only on closing, which is too late
        file.truncate(capacity * (ID_BYTES + CRC_BYTES + 4 * dim + RECORD_BYTES))
    datasets = {
        "external_id": ((capacity,), np.dtype("<i8")),
        "crc32": ((capacity,), np.dtype("<u4")),
        "embedding": ((capacity, dim), np.dtype("<f4")),
        "provenance": ((capacity,), _record_type()),
    }
    with h5py.File(
        path,
        "w",
        libver="earliest",
        userblock_size=HEADER_BYTES,
        alignment_threshold=1,
        alignment_interval=4096,
        meta_block_size=_METADATA_BYTES,
    ) as hdf5:
        hdf5.attrs["model"] = stamp.name
        hdf5.attrs["model_digest"] = stamp.digest
        hdf5.attrs["version"] = 2
        for name, (shape, dtype) in datasets.items():
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_layout(h5py.h5d.CONTIGUOUS)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(hdf5.id, name.encode(), h5py.h5t.py_create(dtype), space, plan)
        layout = Layout(capacity, dim, stamp, Offsets(*(hdf5[name].id.get_offset() for name in datasets)))
    with path.open("r+b") as file:
        file.write(header_of(file.fileno(), layout))
        file.flush()
        os.fsync(file.fileno())


def read_description(fd: int, path: Path) -> Layout:
    """Read HDF5's description of an open file. `offsets` is None, so the file is to be migrated.

    On damaged metadata this may never return, so `hdf5_probe.py` calls it in another process.

    Raises:
        StoreLayoutError: it is neither a file of the original nor a store of ours.
    """
    try:
        with open_hdf5(fd) as hdf5:
            names = ("external_id", "embedding", "crc32", "provenance")
            ids, embeddings, checksums, records = (hdf5.get(name) for name in names)
            stamp = ModelStamp(hdf5.attrs.get("model", ""), hdf5.attrs.get("model_digest", ""))
            layout = Layout(embeddings.shape[0], embeddings.shape[1], stamp, None)
            usable = (
                ids.shape == (layout.capacity,)
                and ids.dtype.kind == "i"
                and embeddings.dtype == np.float32
                and min(layout.capacity, layout.dim) > 0
                and _is_name(stamp.name)
                and _is_name(stamp.digest)
            )
            # Without these, rows of a store of ours cannot be checked, and damage would pass for the original's layout.
            complete = (checksums is not None) == ("model_digest" in hdf5.attrs)
            if checksums is not None:
                complete &= checksums.shape == (layout.capacity,) and checksums.dtype.str == "<u4"
            complete &= (records is not None) == ("version" in hdf5.attrs)
            if records is not None:
                complete &= records.shape == (layout.capacity,) and records.dtype == RECORD
            for dataset in (ids, embeddings, checksums, records):
                if dataset is not None and dataset.chunks:
                    dataset.id.get_num_chunks()  # walks the whole index, as reading the rows will
    except Exception as error:  # h5py raises many types on a damaged file
        raise StoreLayoutError(f"{path} is damaged or not a store: {error or type(error).__name__}") from error
    if not usable:
        raise StoreLayoutError(f"{path} is not a store: needs external_id (n,) integers and embedding (n, dim) float32")
    if not complete:
        raise StoreLayoutError(f"{path} is damaged: a part of its description is missing; restore it from a backup")
    return layout


def open_hdf5(fd: int) -> Any:
    """Open a file for reading with h5py, by its descriptor, which stays open."""
    return h5py.File(os.fdopen(fd, "rb", buffering=0, closefd=False), "r")


def _record_type() -> np.dtype[np.void]:
    """Return the type of a provenance record, with its address declared as UTF-8."""
    return np.dtype(
        [
            ("image_url", h5py.string_dtype("utf-8", URL_BYTES)),
            ("bounding_box", RECORD["bounding_box"]),
            ("crc32", RECORD["crc32"]),
        ]
    )


def _is_name(value: object) -> bool:
    """Return whether an attribute is text that a store may have; damage produces other text."""
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_NAME
