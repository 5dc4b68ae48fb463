"""The deletion log: a text file beside the store, one deleted id a line, for code that answers from an index.

An index holds a deleted logo until the next build. The file informs every process at once, and keeps the ids after a
compaction, when the store has forgotten them. It lists only *candidates*: an id is written here, and synced, before the
store deletes its row, and the line stays when the logo is added again. The store has the last word.

The file also grows before rows are removed for any other reason: by an empty line or, for logos whose vectors are
replaced, by lines `=id`. So while it does not change, code that counts rows (`live_count.py`) or lists them knows that
none was removed. A replaced logo is not a candidate; only `since` names it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from durable import sync_directory
from embeddings.errors import storage_errors

_REPLACED = "="  # before the id of a logo whose vector is replaced
_MAX_DIGITS = 19  # of an id; a longer line is not ours, and int() refuses thousands of digits

logger = logging.getLogger(__name__)


class LogPlace(NamedTuple):
    """The identity and size of the file, which change with every write; zeros without a file."""

    inode: int
    size: int
    changed_ns: int


class DeletionLog:
    """The file `<store>.deleted`. Threads may share it; writers must hold the writer's lock."""

    def __init__(self, store_path: Path) -> None:
        self._path = store_path.with_name(f"{store_path.name}.deleted")
        self._mutex = threading.Lock()
        self._read_to = (0, 0)  # the file's inode, and how many of its bytes were read
        self._ids: set[int] = set()

    def write(self, logo_ids: Iterable[int], *, replaced: Iterable[int] = ()) -> None:
        """Append the ids of deleted and replaced logos durably.

        Raises:
            StoreFullError, StoreUnavailableError: it could not be written.
        """
        with storage_errors(f"write {self._path}"):
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                # A line that a crash cut short must not merge with ours.
                lines = [*map(str, logo_ids), *(f"{_REPLACED}{logo_id}" for logo_id in replaced)]
                _write_all(fd, "\n".join(["", *lines, ""]).encode())
                os.fdatasync(fd)
            finally:
                os.close(fd)
            sync_directory(self._path.parent)  # the process that created the file may have been killed before this

    def note_removal(self) -> None:
        """Record durably that rows are about to be removed without a deletion: damaged rows, which are quarantined.

        Raises:
            StoreFullError, StoreUnavailableError: it could not be written.
        """
        self.write([])

    def place(self) -> LogPlace | None:
        """Return where the file ends now; None if that is unknown."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - as below
        except FileNotFoundError:
            return LogPlace(0, 0, 0)
        except OSError:
            return None
        return LogPlace(status.st_ino, status.st_size, status.st_mtime_ns)

    def among(self, logo_ids: Collection[int]) -> set[int]:
        """Return the ids that were ever written. If the file cannot be read, log that and return an empty set."""
        return self.ids().intersection(logo_ids)

    def ids(self) -> set[int]:
        """Return all ids that were ever written; do not modify the set. Errors are handled as in `among`."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - every query asks, and Path.stat takes twice as long
        except OSError:
            return set()
        place = (status.st_ino, status.st_size)
        if self._read_to != place:
            with self._mutex:
                try:
                    self._read()
                except OSError as error:
                    self._read_to = place
                    logger.warning("Deleted logos remain in the results until the next build: %s", error)
        return self._ids

    def since(self, place: tuple[int, int]) -> tuple[int, int, set[int]]:
        """Return the file's inode, its size, and the ids written after `place`; all ids if that is in another file.

        They include replaced logos. Without a readable file, there are no ids.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                inode = status.st_ino
                known = place[1] if inode == place[0] and place[1] <= status.st_size else 0
                file.seek(known)
                lines, newline, _ = file.read().rpartition(b"\n")
                ids = _ids_in(lines.replace(_REPLACED.encode(), b""))
                return inode, known + len(lines) + len(newline), ids
        except FileNotFoundError:
            return 0, 0, set()
        except OSError as error:
            logger.warning("%s cannot be read: %s", self._path, error)
            return *place, set()

    def _read(self) -> None:
        with self._path.open("rb") as file:
            inode, known = self._read_to
            status = os.fstat(file.fileno())
            if status.st_ino != inode or status.st_size < known:
                known = 0
            file.seek(known)
            lines, newline, _ = file.read().rpartition(b"\n")
            self._ids |= _ids_in(lines)
            self._read_to = (status.st_ino, known + len(lines) + len(newline))


def _ids_in(lines: bytes) -> set[int]:
    return {int(line) for line in lines.split() if line.isdigit() and len(line) <= _MAX_DIGITS}


def _write_all(fd: int, content: bytes) -> None:
    """Write all bytes, in several calls if the kernel writes only a part, as it may on a nearly full disk."""
    unwritten = memoryview(content)
    while unwritten:
        unwritten = unwritten[os.write(fd, unwritten) :]
