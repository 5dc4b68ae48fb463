"""The file of the store: how it is laid out, and where its bytes lie (`store_file.py` reads and writes them).

It is one ordinary HDF5 file that any HDF5 tool reads. HDF5 lays it out once and never opens it for writing again, so no
byte of its metadata changes after that. Its three datasets are contiguous, so a row is plain bytes at a known offset:

    external_id (capacity,)      <i8   the logo's id; 0 is an empty slot, a negative id a deleted logo
    crc32       (capacity,)      <u4   CRC-32 of the id's 8 bytes (as a positive number), then of the embedding's
    embedding   (capacity, dim)  <f4

They are allocated when the file is made but never filled: what is not used yet is a hole that takes no space. The ids
come first, so a copy made front to back of a store in use holds the content of every id that it holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from embeddings.errors import StoreError, StoreFullError, StoreLayoutError, StoreUnavailableError

ID_BYTES = 8
CRC_BYTES = 4
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class ModelStamp:
    """Which model made the vectors of a store; both are empty where nobody knows, as in a store of the original."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Offsets:
    """Where the raw data of each dataset begins, in bytes from the start of the file."""

    ids: int
    checksums: int
    embeddings: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What a store file says of itself; `offsets` is None in the chunked layout of the original service."""

    capacity: int
    dim: int
    stamp: ModelStamp
    offsets: Offsets | None


def create_store(path: Path, *, capacity: int, dim: int, stamp: ModelStamp) -> None:
    """Make an empty store. At every instant, and after a crash, there is either no file at `path` or a whole one.

    Call it under the writer's lock.

    Raises:
        StoreFullError: the file system has no room, or takes no file of this size.
        StoreUnavailableError: it cannot be written here, or there is a file at `path` already.
    """
    draft = draft_path(path)
    with storage_errors(f"create {path}"):
        try:
            lay_out(draft, capacity=capacity, dim=dim, stamp=stamp)
            os.link(draft, path)  # unlike a rename it never replaces a file
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)


def lay_out(path: Path, *, capacity: int, dim: int, stamp: ModelStamp) -> None:
    """Write an empty store file and sync it; a file at `path` is thrown away.

    Raises:
        OSError: there is no room, no permission, and so on.
    """
    if capacity < 1 or dim < 1:
        raise ValueError(f"a store needs at least one row and one dimension, not {capacity} and {dim}")
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # HDF5 reports a file that grows too large only as it closes, when it is too late
        file.truncate(capacity * (ID_BYTES + CRC_BYTES + 4 * dim))
    with h5py.File(path, "w", libver="earliest", alignment_threshold=1, alignment_interval=4096) as hdf5:
        hdf5.attrs["model"] = stamp.name
        hdf5.attrs["model_digest"] = stamp.digest
        for name, shape, dtype in (
            ("external_id", (capacity,), "<i8"),
            ("crc32", (capacity,), "<u4"),
            ("embedding", (capacity, dim), "<f4"),
        ):
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_layout(h5py.h5d.CONTIGUOUS)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(hdf5.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, plan)
    sync_file(path)


def inspect(path: Path) -> Layout | None:
    """Return what a store file, ours or the original's, says of itself; None if there is no file.

    Raises:
        StoreLayoutError: the file is neither.
        StoreUnavailableError: it may not be opened, or another program has it open for writing.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise StoreLayoutError(f"{path} is no regular file: move it away")
    with storage_errors(f"open {path}"), path.open("rb") as file:
        return read_layout(file.fileno(), path)


def read_layout(fd: int, path: Path) -> Layout:
    """Read the layout of an open file, and keep other programs from opening it for writing while it is open.

    HDF5 takes an exclusive `flock` to write and a shared one to read; ours is shared.

    Raises:
        StoreLayoutError, StoreUnavailableError: as `inspect`.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreUnavailableError(f"another program has {path} open for writing: stop it first") from error
    try:
        with open_hdf5(fd) as hdf5:
            ids, embeddings, checksums = (hdf5.get(name) for name in ("external_id", "embedding", "crc32"))
            layout = Layout(
                capacity=embeddings.shape[0],
                dim=embeddings.shape[1],
                stamp=ModelStamp(hdf5.attrs.get("model", ""), hdf5.attrs.get("model_digest", "")),
                offsets=_offsets(ids, checksums, embeddings),
            )
            usable = ids.shape == (layout.capacity,) and ids.dtype.kind == "i" and embeddings.dtype == np.float32
    except (OSError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        raise StoreLayoutError(f"{path} is damaged or no store: {error}") from error
    if not usable:
        raise StoreLayoutError(f"{path} is no store: needs external_id (n,) integers and embedding (n, dim) float32")
    return layout


def open_hdf5(fd: int) -> Any:
    """Open a file for reading with h5py by its descriptor, which stays open."""
    return h5py.File(os.fdopen(fd, "rb", buffering=0, closefd=False), "r")


def draft_path(path: Path) -> Path:
    """Return where a new file is made before it takes its name; what lies there without the lock held is rubbish."""
    return path.with_name(f"{path.name}.tmp")


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's errors into the room's: StoreFullError without room, else StoreUnavailableError."""
    try:
        yield
    except OSError as error:
        raise store_error(doing, error) from error


def store_error(doing: str, error: OSError) -> StoreError:
    """Return the room's error for one of the operating system's."""
    if error.errno in _NO_ROOM:
        return StoreFullError(f"cannot {doing}: {error.strerror}; make room on its disk")
    return StoreUnavailableError(f"cannot {doing}: {error.strerror or error}")


def _offsets(ids: Any, checksums: Any, embeddings: Any) -> Offsets | None:
    """Return where the datasets lie if they are laid out as ours are."""
    datasets = (ids, checksums, embeddings)
    if [dataset is not None and dataset.dtype.str for dataset in datasets] != ["<i8", "<u4", "<f4"]:
        return None
    if not ids.shape == checksums.shape == embeddings.shape[:1]:
        return None
    begins = [dataset.id.get_offset() for dataset in datasets]
    return None if None in begins else Offsets(*begins)
