"""The file of the store: where its bytes lie, and the only module that reads or writes them.

It is one ordinary HDF5 file that any HDF5 tool reads. HDF5 lays it out once and never opens it for writing again, so no
byte of its metadata changes after that. Its three datasets are contiguous, so a row is plain bytes at a known offset:

    external_id (capacity,)      <i8   the logo's id; 0 is an empty slot, a negative id a deleted logo
    crc32       (capacity,)      <u4   CRC-32 of the id's 8 bytes (as a positive number), then of the embedding's
    embedding   (capacity, dim)  <f4

They are allocated when the file is made but never filled: what is not used yet is a hole that takes no space. The ids
come first, so a copy made front to back of a store in use holds the content of every id that it holds.

Nothing is mapped into memory: a bad disk or a file cut short is an error of one read, not a SIGBUS for the service.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreError, StoreFullError, StoreLayoutError, StoreUnavailableError

_ID_BYTES = 8
_CRC_BYTES = 4
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


class StoreFile:
    """An open store file: always the same file, closed once nobody holds this object any more.

    A reader that took hold of it can therefore read on while the store moves to another file.

    Args:
        path: the file.
        writable: open it for `write_content` and `write_ids`, too.

    Raises:
        StoreLayoutError: it is no store in the layout of this version.
        StoreUnavailableError: it is missing, may not be opened, or another program has it open for writing.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        with storage_errors(f"open {path}"):
            self._fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        layout = read_layout(self._fd, path)
        if layout.offsets is None:
            raise StoreLayoutError(
                f"{path} has the layout of the original service: run `manage.py migrate-store` (it keeps the old file)"
            )
        self.path = path
        self.capacity, self.dim, self.stamp = layout.capacity, layout.dim, layout.stamp
        self.status = os.fstat(self._fd)
        self._offsets = layout.offsets
        self._row_bytes = 4 * layout.dim
        self._syncing = threading.Lock()
        self._sync_failure: OSError | None = None

    def id_at(self, row: int) -> int:
        """Return what the id slot of a row holds now."""
        return int.from_bytes(self._read(self._offsets.ids + _ID_BYTES * row, _ID_BYTES), "little", signed=True)

    def ids(self, first: int, stop: int) -> NDArray[np.int64]:
        """Return the id slots of the rows from `first` up to `stop` or the capacity: (n,), read-only."""
        rows = max(0, min(stop, self.capacity) - first)
        return np.frombuffer(self._read(self._offsets.ids + _ID_BYTES * first, _ID_BYTES * rows), "<i8")

    def embedding(self, row: int, logo_id: int) -> NDArray[np.float32] | None:
        """Return the embedding of a row, (dim,) and read-only; None if it is not what was stored for this logo."""
        content = self._read(self._offsets.embeddings + self._row_bytes * row, self._row_bytes)
        checksum = self._read(self._offsets.checksums + _CRC_BYTES * row, _CRC_BYTES)
        if zlib.crc32(content, zlib.crc32(logo_id.to_bytes(_ID_BYTES, "little"))) != int.from_bytes(checksum, "little"):
            return None
        return np.frombuffer(content, "<f4")

    def checked(self, first: int, ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read consecutive rows and hold each against its checksum.

        Args:
            first: the first row.
            ids: (n,) what the id slots of the rows hold.

        Returns:
            The embeddings, (n, dim), and which of them are good, (n,): those of a used slot that can be read and agree
            with their checksums.
        """
        rows = len(ids)
        try:
            content = self._read(self._offsets.embeddings + self._row_bytes * first, self._row_bytes * rows)
            checksums = self._read(self._offsets.checksums + _CRC_BYTES * first, _CRC_BYTES * rows)
        except StoreUnavailableError:
            if rows == 1:
                return np.zeros((1, self.dim), "<f4"), np.zeros(1, bool)
            # One bad sector fails the whole read: halve it until the fault costs only the rows that it touches.
            half = rows // 2
            parts = self.checked(first, ids[:half]), self.checked(first + half, ids[half:])
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        embeddings = np.frombuffer(content, "<f4").reshape(rows, self.dim)
        return embeddings, (_checksums(ids, embeddings) == np.frombuffer(checksums, "<u4")) & (ids != 0)

    def write_content(self, first: int, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Write embeddings, (n, dim), and checksums into the rows from `first`; the id slots stay as they are."""
        embeddings = np.ascontiguousarray(embeddings, "<f4")
        self._write(self._offsets.embeddings + self._row_bytes * first, embeddings)
        self._write(self._offsets.checksums + _CRC_BYTES * first, _checksums(ids, embeddings))

    def write_ids(self, first: int, ids: NDArray[np.int64]) -> None:
        """Write the id slots, (n,), of the rows from `first`."""
        self._write(self._offsets.ids + _ID_BYTES * first, np.ascontiguousarray(ids, "<i8"))

    def sync(self) -> None:
        """Wait until all that any process wrote to the file is on the disk.

        Raises:
            StoreUnavailableError: the kernel could not write all of it, now or at an earlier call. It tells so once,
                and what it could not write still reads well from its cache: no later sync here means anything.
        """
        with self._syncing:  # two threads at once would share one telling
            if self._sync_failure is None:
                try:
                    os.fdatasync(self._fd)
                except OSError as error:
                    self._sync_failure = error
            self.refuse_after_failed_sync()

    def refuse_after_failed_sync(self) -> None:
        """Raise StoreUnavailableError if a sync has failed."""
        if self._sync_failure is not None:
            raise StoreUnavailableError(
                f"a sync of {self.path} failed ({self._sync_failure.strerror}): see to its disk, then restart"
            ) from self._sync_failure

    def _read(self, offset: int, size: int) -> bytes:
        content = b""
        while len(content) < size:  # once, but for the 2 GiB that Linux reads at most
            try:
                part = os.pread(self._fd, size - len(content), offset + len(content))
            except OSError as error:
                raise StoreUnavailableError(f"cannot read {self.path}: {error.strerror}") from error
            if not part:
                raise StoreUnavailableError(f"{self.path} is shorter than its layout says: restore it from a backup")
            content += part
        return content

    def _write(self, offset: int, array: NDArray[np.generic]) -> None:
        content = array.data.cast("B")
        try:
            while content:
                written = os.pwrite(self._fd, content, offset)
                content, offset = content[written:], offset + written
        except OSError as error:
            raise _store_error(f"write {self.path}", error) from error


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
        file.truncate(capacity * (_ID_BYTES + _CRC_BYTES + 4 * dim))
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
    with path.open("rb") as file:
        os.fsync(file.fileno())


def inspect(path: Path) -> Layout | None:
    """Return what a store file, ours or the original's, says of itself; None if there is no file.

    Raises:
        StoreLayoutError: the file is neither.
        StoreUnavailableError: it may not be opened, or another program has it open for writing.
    """
    if not path.exists():
        return None
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
        raise _store_error(doing, error) from error


def _store_error(doing: str, error: OSError) -> StoreError:
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


def _checksums(ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each row, (n,): of its id as a positive number, then of its embedding."""
    id_bytes = np.abs(ids).astype("<i8").data.cast("B")
    rows = embeddings.data.cast("B")
    size = 4 * embeddings.shape[1]
    return np.fromiter(
        (
            zlib.crc32(rows[row * size : (row + 1) * size], zlib.crc32(id_bytes[row * 8 : (row + 1) * 8]))
            for row in range(len(ids))
        ),
        "<u4",
        len(ids),
    )
