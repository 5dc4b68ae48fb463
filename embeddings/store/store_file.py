"""An open store file. No other code reads or writes its rows.

`layout.py` says where the bytes lie. Nothing is mapped into memory, so a bad disk or a truncated file is an error of
one read, not a SIGBUS for the service.
"""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreUnavailableError, storage_errors, store_error
from embeddings.store.layout import CRC_BYTES, ID_BYTES, keep_writers_out, read_header
from embeddings.store.provenance import RECORD_BYTES, Records, no_records, sound_records

_SOON = os.POSIX_FADV_WILLNEED
_NOTED_AHEAD = 1 << 16  # rows, so that a growing store is not read again for each


class StoreFile:
    """An open store file: always the same file, closed when the last reference to this object is gone.

    So a reader can continue with it while the store moves to another file.

    Args:
        path: the file.
        writable: whether to open it for `write_content` and `write_ids` too.

    Raises:
        StoreLayoutError: it is not a store in the layout of this version.
        StoreUnavailableError: it is missing, may not be opened, or another program has it open for writing.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        with storage_errors(f"open {path}"):
            self._fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        keep_writers_out(self._fd, path)
        layout = read_header(self._fd, path)
        assert layout.offsets is not None
        self.path = path
        self.capacity, self.dim, self.stamp = layout.capacity, layout.dim, layout.stamp
        self.keeps_provenance = layout.offsets.provenance is not None
        self.status = os.fstat(self._fd)
        self._offsets = layout.offsets
        self._row_bytes = 4 * layout.dim
        self._syncing = threading.Lock()
        self._sync_failure: OSError | None = None
        self._noted = np.zeros(0, np.uint32)

    def is_at(self, path: Path, *, or_gone: bool = False) -> bool:
        """Return whether this is the file at `path`, or `or_gone` if there is none."""
        try:
            return os.path.samestat(path.stat(), self.status)
        except OSError:
            return or_gone

    def id_at(self, row: int) -> int:
        """Return the current id slot of a row."""
        return int.from_bytes(self._read(self._offsets.ids + ID_BYTES * row, ID_BYTES), "little", signed=True)

    def ids(self, first: int, stop: int) -> NDArray[np.int64]:
        """Return the id slots of the rows from `first` up to `stop` or the capacity: (n,), read-only."""
        rows = max(0, min(stop, self.capacity) - first)
        return np.frombuffer(self._read(self._offsets.ids + ID_BYTES * first, ID_BYTES * rows), "<i8")

    def embedding(self, row: int, logo_id: int) -> NDArray[np.float32] | None:
        """Return the embedding of a row, (dim,) and read-only.

        None if it is not the one stored for this logo, or cannot be read: a bad sector loses one row.
        """
        try:
            content = self._read(self._offsets.embeddings + self._row_bytes * row, self._row_bytes)
            checksum = self._read(self._offsets.checksums + CRC_BYTES * row, CRC_BYTES)
        except StoreUnavailableError:
            return None
        if zlib.crc32(content, zlib.crc32(logo_id.to_bytes(ID_BYTES, "little"))) != int.from_bytes(checksum, "little"):
            return None
        return np.frombuffer(content, "<f4")

    def read_into(self, rows: NDArray[np.int64], places: Sequence[memoryview]) -> NDArray[np.bool_]:
        """Read the embeddings of any n rows into n places, and return which could be read: (n,).

        Rows in the kernel's cache are copied first. The others are then prefetched all at once: reading one after the
        other doubles the time of a cold query.
        """
        size, fd = self._row_bytes, self._fd
        offsets = (self._offsets.embeddings + size * rows).tolist()
        buffers = [(place,) for place in places]
        with suppress(OSError):  # a row is not in the cache, or the file system does not say
            read = list(map(os.preadv, repeat(fd), buffers, offsets, repeat(os.RWF_NOWAIT)))
            if read.count(size) == len(rows):
                return np.ones(len(rows), bool)
        for offset in offsets:
            os.posix_fadvise(fd, offset, size, _SOON)
        whole = np.zeros(len(rows), bool)
        for place, (buffer, offset) in enumerate(zip(buffers, offsets, strict=True)):
            with suppress(OSError):  # a bad sector loses one row
                whole[place] = os.preadv(fd, buffer, offset) == size
        return whole

    def noted_checksums(self, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return the checksums of any rows, (n,), as they were when first read; anything for a row below 0.

        They take 4 bytes of memory a row.
        """
        noted, last = self._noted, int(rows.max(initial=-1))
        if last >= len(noted):
            stop = min(self.capacity, max(last + 1, last + _NOTED_AHEAD))
            noted = np.concatenate([noted, self.checksums(np.arange(len(noted), stop))])
            self._noted = noted
        return noted[rows] if len(noted) else np.zeros(len(rows), np.uint32)

    def checksum(self, row: int) -> int:
        """Return the stored checksum of a row; 0 if it cannot be read."""
        try:
            return int.from_bytes(self._read(self._offsets.checksums + CRC_BYTES * row, CRC_BYTES), "little")
        except StoreUnavailableError:
            return 0

    def checksums(self, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return the stored checksums of ascending rows, (n,); 0 for those that cannot be read."""
        try:
            stop = int(rows[-1]) + 1 if len(rows) else 0
            return np.frombuffer(self._read(self._offsets.checksums, CRC_BYTES * stop), "<u4")[rows]
        except StoreUnavailableError:  # a bad sector loses only the rows that it touches
            return np.array([self.checksum(row) for row in rows.tolist()], np.uint32)

    def checked(self, first: int, ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read consecutive rows and check each against its checksum.

        Args:
            first: the first row.
            ids: (n,) the id slots of the rows.

        Returns:
            The embeddings, (n, dim), and which of them are good, (n,): those of used slots that can be read and agree
            with their checksums.
        """
        rows = len(ids)
        try:
            content = self._read(self._offsets.embeddings + self._row_bytes * first, self._row_bytes * rows)
            checksums = self._read(self._offsets.checksums + CRC_BYTES * first, CRC_BYTES * rows)
        except StoreUnavailableError:
            if rows == 1:
                return np.zeros((1, self.dim), "<f4"), np.zeros(1, bool)
            # One bad sector fails the whole read: halve it until only the rows that the sector touches are lost.
            half = rows // 2
            parts = self.checked(first, ids[:half]), self.checked(first + half, ids[half:])
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        embeddings = np.frombuffer(content, "<f4").reshape(rows, self.dim)
        return embeddings, (checksums_of(ids, embeddings) == np.frombuffer(checksums, "<u4")) & (ids != 0)

    def records(self, first: int, ids: NDArray[np.int64]) -> tuple[Records, NDArray[np.bool_]]:
        """Read the provenance records of consecutive rows, and check each against its checksum.

        Args:
            first: the first row.
            ids: (n,) the id slots of the rows.

        Returns:
            The records, (n,), and which of them are damaged, (n,). Records are empty if they are damaged, if their row
            is unused or has no provenance, and in a store that keeps none.
        """
        rows = len(ids)
        if self._offsets.provenance is None or not rows:
            return no_records(rows), np.zeros(rows, bool)
        try:
            content = self._read(self._offsets.provenance + RECORD_BYTES * first, RECORD_BYTES * rows)
        except StoreUnavailableError:
            if rows == 1:
                return no_records(1), ids != 0
            half = rows // 2  # as in `checked`
            parts = self.records(first, ids[:half]), self.records(first + half, ids[half:])
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        return sound_records(ids, content)

    def records_at(self, rows: Sequence[int], ids: NDArray[np.int64]) -> tuple[Records, NDArray[np.bool_]]:
        """Read the records of any n rows, as `records` does."""
        if self._offsets.provenance is None:
            return no_records(len(rows)), np.zeros(len(rows), bool)
        content, unread = [], np.zeros(len(rows), bool)
        for place, row in enumerate(rows):
            try:
                content.append(self._read(self._offsets.provenance + RECORD_BYTES * row, RECORD_BYTES))
            except StoreUnavailableError:  # a bad sector loses the provenance of one row
                content.append(bytes(RECORD_BYTES))
                unread[place] = True
        records, damaged = sound_records(ids, b"".join(content))
        return records, damaged | unread

    def write_content(
        self, first: int, ids: NDArray[np.int64], embeddings: NDArray[np.float32], records: Records | None = None
    ) -> None:
        """Write embeddings, (n, dim), checksums, and provenance records, (n,), into the rows from `first`.

        The id slots stay as they are. Without records the rows have no provenance.
        """
        embeddings = np.ascontiguousarray(embeddings, "<f4")
        self._write(self._offsets.embeddings + self._row_bytes * first, embeddings)
        self._write(self._offsets.checksums + CRC_BYTES * first, checksums_of(ids, embeddings))
        self.write_records(first, no_records(len(ids)) if records is None else records)

    def write_records(self, first: int, records: Records) -> None:
        """Write the provenance records, (n,), of the rows from `first`, unless the store keeps none.

        Empty records leave a hole of the file as it is.
        """
        if self._offsets.provenance is not None:
            offset, content = self._offsets.provenance + RECORD_BYTES * first, np.ascontiguousarray(records)
            if content.view(np.uint8).any() or not self._is_empty(offset, content.nbytes):
                self._write(offset, content.view(np.uint8))

    def write_ids(self, first: int, ids: NDArray[np.int64]) -> None:
        """Write the id slots, (n,), of the rows from `first`."""
        self._write(self._offsets.ids + ID_BYTES * first, np.ascontiguousarray(ids, "<i8"))

    def sync(self) -> None:
        """Wait until all that any process wrote to the file is on the disk.

        Raises:
            StoreUnavailableError: the kernel could not write all of it, now or in an earlier call. The kernel reports
                this once, and its cache still returns what it could not write, so later syncs here mean nothing.
        """
        with self._syncing:  # of two threads at once, only one would get the kernel's report
            if self._sync_failure is None:
                try:
                    os.fdatasync(self._fd)
                except OSError as error:
                    self._sync_failure = error
            self.refuse_after_failed_sync()

    def drop_cache(self) -> None:
        """Drop what was synced from the kernel's cache, so that later reads come from the disk."""
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def refuse_after_failed_sync(self) -> None:
        """Raise StoreUnavailableError if a sync has failed."""
        if self._sync_failure is not None:
            raise StoreUnavailableError(
                f"a sync of {self.path} failed ({self._sync_failure.strerror}): check its disk, then restart"
            ) from self._sync_failure

    def _is_empty(self, offset: int, size: int) -> bool:
        try:
            return not any(self._read(offset, size))
        except StoreUnavailableError:  # a bad sector, which a write may replace
            return False

    def _read(self, offset: int, size: int) -> bytes:
        content = b""
        while len(content) < size:  # once, because Linux reads up to 2 GiB
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
            raise store_error(f"write {self.path}", error) from error


def checksums_of(ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> NDArray[np.uint32]:
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
