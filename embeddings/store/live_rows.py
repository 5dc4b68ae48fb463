"""What one process knows of the store file that is at a path now: its rows, and in which of them each logo is.

Growing and compacting put another file at the path: each call checks whether the open one is still there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from durable import sync_directory
from embeddings.errors import StoreModelError, StoreUnavailableError, storage_errors
from embeddings.store.deletions import DeletionLog, LogPlace
from embeddings.store.id_table import KnownRows
from embeddings.store.seen_rows import SeenRows
from embeddings.store.store_file import StoreFile
from embeddings.store.writer_lock import writer_lock

logger = logging.getLogger(__name__)

_TRIES = 3  # to read all id slots while no row is removed, before writers are kept out

T = TypeVar("T")


class LiveRows:
    """The rows of the file at a path. Threads may share it.

    Args:
        path: of the file.
        deletions: its log of deletions, which grows before a row is removed.
        writable: whether to open the file for writing.

    Attributes:
        mutex: guards what is known of the file: hold it to change a `KnownRows`.

    Raises:
        StoreLayoutError, StoreUnavailableError: as for `EmbeddingStore`.
    """

    def __init__(self, path: Path, deletions: DeletionLog, *, writable: bool) -> None:
        self.mutex = threading.Lock()
        self._path = path
        self._deletions = deletions
        self._writable = writable
        self._looked_at: LogPlace | None = None  # where the log ended before a look of `find_all`
        self._open: KnownRows | None = KnownRows(self._open_file())
        self._settle(self._open)

    @property
    def last(self) -> KnownRows | None:
        """What is known of the last file that was seen at the path; None after `close`."""
        return self._open

    def close(self) -> None:
        """Close the file."""
        with self.mutex:
            self._open = None

    def known(self) -> KnownRows:
        """Return what is known of the file that is at the path now, or of the last one, if the path has none."""
        known = self._open
        if known is not None and known.file.is_at(self._path, or_gone=True):
            return known
        with self.mutex:
            known = self._open
            if known is None:
                raise StoreUnavailableError(f"{self._path} has been closed")
            if not known.file.is_at(self._path, or_gone=True):
                file = self._open_file()
                if (file.dim, file.stamp) != (known.file.dim, known.file.stamp):
                    raise StoreModelError(f"{self._path} was replaced by a store of another model: restart the service")
                logger.info("%s was replaced: reading the new file", self._path)
                self._open = known = KnownRows(file)
            return known

    def look(self) -> tuple[KnownRows, SeenRows]:
        """Look for new rows, and return what is known now, and the rows that were seen."""
        known = self.known()
        with self.mutex:
            known.look()
            return known, known.seen()

    def find(self, logo_id: int) -> tuple[KnownRows, int | None]:
        """Return the row of a logo; None if it is not stored."""
        known, rows = self.find_each([logo_id])
        return known, rows.get(logo_id)

    def find_each(self, logo_ids: Sequence[int]) -> tuple[KnownRows, dict[int, int]]:
        """Return the rows of the logos that are stored, by their ids, in order."""
        known = self.known()
        rows = {logo_id: known.find(logo_id) for logo_id in logo_ids}
        if None in rows.values():
            missing = [logo_id for logo_id, row in rows.items() if row is None]
            found = self.while_no_row_goes(lambda: self._look_for(known, missing), _all_found)
            rows |= found
        return known, {logo_id: row for logo_id, row in rows.items() if row is not None}

    def find_all(self, logo_ids: NDArray[np.int64]) -> tuple[StoreFile, NDArray[np.int64]]:
        """Return the open file and the rows of logos, (n,); -1 for one that is not stored."""
        known = self.known()
        place = self._deletions.place()
        rows = known.find_all(logo_ids)
        if (rows < 0).any() or place != self._looked_at:  # if it grew, known rows may have been replaced
            with self.mutex:
                known.look()
            self._looked_at = place
            rows = known.find_all(logo_ids)
        return known.file, rows

    def settled(self) -> tuple[StoreFile, NDArray[np.int64]]:
        """Return the open file and the id slots of its rows, (rows,), including deleted ones, after a sync.

        The slots of rows that are being written now are 0.
        """
        known, _ = self.look()
        self._settle(known)
        known, slots = self.while_no_row_goes(self._slots)
        with self.mutex:
            known.make_durable()
        return known.file, slots

    def while_no_row_goes(self, read: Callable[[], T], whole: Callable[[T], bool] = lambda found: False) -> T:
        """Return what a look and reading the id slots after it make; a logo that is being replaced is in it once.

        What is `whole` needs no second look.
        """
        for _ in range(_TRIES):
            place = self._deletions.place()
            found = read()
            if whole(found) or self._deletions.place() == place:
                return found
        with suppress(StoreUnavailableError), writer_lock(self._path):
            return read()
        return read()

    def _look_for(self, known: KnownRows, logo_ids: Sequence[int]) -> dict[int, int | None]:
        with self.mutex:
            known.look()
        return {logo_id: known.find(logo_id) for logo_id in logo_ids}

    def _slots(self) -> tuple[KnownRows, NDArray[np.int64]]:
        known, seen = self.look()
        return known, seen.slots(0, seen.end)

    def _settle(self, known: KnownRows) -> None:
        """Wait for writers of the pending rows; rows that still disagree after that are damaged."""
        if known.pending:
            with suppress(StoreUnavailableError), writer_lock(self._path), self.mutex:
                known.look(alone=True)

    def _open_file(self) -> StoreFile:
        file = StoreFile(self._path, writable=self._writable)
        if self._writable:
            with storage_errors(f"sync {self._path.parent}"):
                sync_directory(self._path.parent)
        return file


def _all_found(rows: dict[int, int | None]) -> bool:
    return None not in rows.values()
