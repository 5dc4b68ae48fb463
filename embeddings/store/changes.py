"""What was stored and deleted since some moment, for code that keeps a copy of the logos elsewhere."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreUnavailableError
from embeddings.store.deletions import DeletionLog
from embeddings.store.live_rows import LiveRows
from embeddings.store.seen_rows import SeenRows
from embeddings.store.writer_lock import writer_lock


@dataclass(frozen=True, slots=True)
class StoreMark:
    """A moment in the life of a store, identified by the contents of its files; it remains valid in other processes.

    Attributes:
        file: device and inode of the store's file.
        row: the first row that was not there yet, or not whole.
        last_slot: the id slot before that row, without its sign; 0 before the first row.
        log: inode of the deletion log; 0 if there was none.
        log_size: its size in bytes.
    """

    file: tuple[int, int]
    row: int
    last_slot: int
    log: int
    log_size: int

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**asdict(self), "file": list(self.file)}

    @classmethod
    def of_json(cls, value: object) -> StoreMark | None:
        """Parse the output of `as_json`; return None for anything else."""
        try:
            mark = cls(**value)  # type: ignore[arg-type]
            device, inode = mark.file
        except (TypeError, ValueError):
            return None
        numbers = (device, inode, mark.row, mark.last_slot, mark.log, mark.log_size)
        return replace(mark, file=(device, inode)) if all(type(n) is int and n >= 0 for n in numbers) else None

    @classmethod
    def at(cls, seen: SeenRows, log: int, log_size: int) -> StoreMark:
        """Return the moment at which the rows were seen."""
        row = int(seen.pending[0]) if len(seen.pending) else seen.end
        return cls(_identity(seen), row, _slot_before(seen, row), log, log_size)

    def at_row(self, row: int, last_id: int) -> StoreMark:
        """Return the moment that has only the rows before `row`, but this moment's deletions.

        Args:
            row: at most this moment's row.
            last_id: the id of the logo in the row before it; 0 before the first row.
        """
        return replace(self, row=row, last_slot=last_id)

    def is_of(self, seen: SeenRows) -> bool:
        """Return whether `seen` shows the same file after this moment."""
        return self.file == _identity(seen) and self.row <= seen.end and self.last_slot == _slot_before(seen, self.row)


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes between two moments.

    Attributes:
        mark: the later moment.
        first_row: the first row after the earlier moment; 0 if `complete`.
        added: (n,) the ids of logos stored since, in order, none of `deleted`; some may have been stored before, too.
        deleted: the ids of logos that were deleted since and are not stored now, and perhaps others not stored.
        readded: the ids of logos that were deleted since and are stored now: their vectors may have changed.
        complete: whether these are all logos and deletions, because the earlier moment is unknown or of another file.
    """

    mark: StoreMark
    first_row: int
    added: NDArray[np.int64]
    deleted: list[int]
    readded: list[int]
    complete: bool


class ChangeReader:
    """The changes of one store.

    Args:
        path: of its file.
        rows: what is known of it.
        deletions: its log of deletions.
    """

    def __init__(self, path: Path, rows: LiveRows, deletions: DeletionLog) -> None:
        self._path = path
        self._rows = rows
        self._deletions = deletions

    def since(self, mark: StoreMark | None) -> Changes:
        """Return what was stored and deleted since a moment; all, if it is None."""
        changes = self._since(mark)
        if changes.readded:  # or about to be deleted: the log names a logo before its row is removed
            with suppress(StoreUnavailableError), writer_lock(self._path):
                changes = self._since(mark)
        return changes

    def mark(self) -> StoreMark:
        """Return this moment. It waits for writers: the log names a logo before its row is removed."""
        with suppress(StoreUnavailableError), writer_lock(self._path):
            return self._mark()
        return self._mark()

    def _mark(self) -> StoreMark:
        log, log_size, _ = self._deletions.since((0, 0))
        return StoreMark.at(self._rows.look()[1], log, log_size)

    def _since(self, mark: StoreMark | None) -> Changes:
        log, log_size, named = self._deletions.since((mark.log, mark.log_size) if mark else (0, 0))
        seen = self._rows.look()[1]
        complete = mark is None or not mark.is_of(seen)
        if complete:
            log, log_size, named = self._deletions.since((0, 0))
        now = StoreMark.at(seen, log, log_size)
        first_row = 0 if mark is None or complete else mark.row
        slots = seen.slots(first_row, now.row)
        gone = {logo_id for logo_id in named if self._rows.find(logo_id)[1] is None}
        # A row that was seen may be gone by now. Named as added, too, its logo would be kept: nothing names it later.
        added = slots[(slots > 0) & ~np.isin(slots, [*gone])]
        return Changes(now, first_row, added, sorted(gone), sorted(named - gone), complete)


def _identity(seen: SeenRows) -> tuple[int, int]:
    return seen.file.status.st_dev, seen.file.status.st_ino


def _slot_before(seen: SeenRows, row: int) -> int:
    return abs(seen.file.id_at(row - 1)) if row else 0
