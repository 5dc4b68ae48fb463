"""Reads what was stored and deleted since a moment: see `changes.py` for what a moment is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from embeddings.errors import StoreUnavailableError
from embeddings.store.changes import Changes, StoreMark
from embeddings.store.deletions import DeletionLog
from embeddings.store.live_rows import LiveRows
from embeddings.store.writer_lock import writer_lock


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
        return Changes(now, first_row, slots[slots > 0], sorted(gone), sorted(named - gone), complete)
