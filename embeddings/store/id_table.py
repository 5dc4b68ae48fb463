"""Which row of a store file holds a logo: millions of ids in 16 bytes each, looked up without a lock.

`IdTable` is the table. `KnownRows` fills it from a file that other processes are writing (`store.py` describes the
protocol).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embeddings.store.seen_rows import SeenRows
from embeddings.store.store_file import StoreFile

WINDOW = 4096  # rows: the largest batch, and so how far behind the last known row a new one may appear
MAX_ID = 2**63 - 1
_SCAN_ROWS = 1 << 17  # one read of 1 MiB


class _Rows(NamedTuple):
    ids: NDArray[np.int64]  # ascending, each once
    rows: NDArray[np.int64]  # the row of each of them
    recent: dict[int, int]  # id -> row; takes precedence over the arrays


class IdTable:
    """Maps logo ids to rows; if an id was added twice, the row added last counts.

    Nearly all ids are in two sorted arrays, the latest in a small dict, which is merged into new arrays when full. All
    three are replaced as one, so any number of threads may look up an id while one adds some.

    Args:
        ids: (n,) logo ids in any order.
        rows: (n,) the row of each.
        merge_at: how many recent ids the dict holds (about 100 bytes each) before they are merged into the arrays.
    """

    def __init__(self, ids: NDArray[np.int64], rows: NDArray[np.int64], *, merge_at: int = 32_768) -> None:
        self._merge_at = merge_at
        self._known = _Rows(*_sorted(ids, rows), {})

    def __len__(self) -> int:
        return len(self._known.ids) + len(self._known.recent)

    def row_of(self, logo_id: int) -> int | None:
        """Return the row of a logo id (any positive integer below 2**63), or None."""
        known = self._known
        row = known.recent.get(logo_id)
        if row is not None:
            return row
        place = int(known.ids.searchsorted(logo_id))
        if place < len(known.ids) and known.ids[place] == logo_id:
            return int(known.rows[place])
        return None

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each of (n,) logo ids, -1 for unknown ones."""
        known = self._known
        places = known.ids.searchsorted(ids)
        places[places == len(known.ids)] = 0
        rows = np.where(known.ids[places] == ids, known.rows[places], -1) if len(known.ids) else np.full(len(ids), -1)
        if known.recent:
            recent = np.array([known.recent.get(logo_id, -1) for logo_id in ids.tolist()], np.int64)
            rows = np.where(recent < 0, rows, recent)
        return rows

    def add(self, ids: Iterable[int], rows: Iterable[int]) -> None:
        """Add ids and the row of each; one thread at a time."""
        known = self._known
        known.recent.update(zip(ids, rows, strict=True))
        if len(known.recent) >= self._merge_at:
            recent_ids = np.fromiter(known.recent.keys(), np.int64)
            recent_rows = np.fromiter(known.recent.values(), np.int64)
            merged = _sorted(np.concatenate([known.ids, recent_ids]), np.concatenate([known.rows, recent_rows]))
            self._known = _Rows(*merged, {})


class KnownRows:
    """One open file, and the rows of it that this process knows. `find` takes no lock; the rest is for one thread.

    Opening reads the ids up to the last used one, not the hole after it.

    Attributes:
        end: all rows before this one are known, except the pending ones.
        deleted: ids of rows that were deleted before this process saw them; some may have been added again.
        pending: rows to check again: their slot was empty, or their checksum disagreed.
        superseded: whole rows whose logo a later whole row holds too; they count as deleted. A store has such rows
            while logos are replaced and, if that was killed, until the next change; so does a backup, if the run that
            updated it was killed (`backup.py`).
        synced: rows before this one are known to be on the disk.
    """

    def __init__(self, file: StoreFile) -> None:
        self.file = file
        self.end = 0
        self.synced = 0
        self.superseded: set[int] = set()
        blocks = [np.zeros(0, np.int64)]
        while (used := np.flatnonzero(block := file.ids(self.end, self.end + _SCAN_ROWS))).size:
            blocks.append(block[: used[-1] + 1])
            self.end += len(blocks[-1])
        self.end = max(0, self.end - WINDOW)  # `look` checks the rest: a batch may still be being written there
        ids = np.concatenate(blocks)[: self.end]
        rows = np.flatnonzero(ids > 0)
        self._table = IdTable(ids[rows], rows)
        if len(self._table) < len(rows):
            whole, damaged = self._doubled(ids, rows)
            rows = np.setdiff1d(rows, damaged)  # bits of their ids may have rotted
            self._table = IdTable(ids[rows], rows)
            self.superseded.update(row for row in whole if self._table.row_of(int(ids[row])) != row)
        deleted = -ids[ids < 0]
        self.deleted = set(
            deleted[self._table.rows_of(deleted) < 0].tolist()
        )  # the others were replaced, or came again
        self.pending = set(np.flatnonzero(ids == 0).tolist())
        self.look()

    def find(self, logo_id: int) -> int | None:
        """Return the row of a logo, or None. The file decides, because another process may have deleted the logo."""
        if not 0 < logo_id <= MAX_ID:
            return None
        row = self._table.row_of(logo_id)
        return row if row is not None and self.file.id_at(row) == logo_id else None

    def find_all(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each of (n,) logos, -1 for unknown ones. A logo may have been deleted since."""
        return self._table.rows_of(logo_ids)

    def look(self, *, alone: bool = False) -> None:
        """Add the rows stored since the last call. `alone` means that the caller holds the writer's lock."""
        while (used := np.flatnonzero(ids := self.file.ids(self.end, self.end + WINDOW))).size:
            ids = ids[: used[-1] + 1]
            _, good = self.file.checked(self.end, ids)
            live = np.flatnonzero(good & (ids > 0))
            for row in live.tolist():
                self._add_row(int(ids[row]), self.end + row)
            self.deleted.update((-ids[ids < 0]).tolist())
            self.pending.update((self.end + np.flatnonzero(~good)).tolist())
            self.end += len(ids)
        settled = self.end if alone else self.end - WINDOW  # nobody is still writing the rows before this one
        for row in sorted(self.pending):
            ids = self.file.ids(row, row + 1)
            whole = self._is_whole(row, ids)
            if row < settled or whole:
                self.pending.discard(row)
                if ids[0] > 0 and (whole or self._table.row_of(int(ids[0])) is None):
                    self._add_row(int(ids[0]), row)
                    self.synced = min(self.synced, row)
        for row in sorted(self.superseded):
            logo_id = self.file.id_at(row)
            if logo_id > 0 and self.find(logo_id) is not None:
                continue
            self.superseded.discard(row)
            # The later row was taken back, after a failed sync, unless it was replaced itself, after this one went.
            if logo_id > 0 and self.file.id_at(row) == logo_id:
                self._table.add([logo_id], [row])

    def seen(self) -> SeenRows:
        """Return the rows as of the last `look`."""
        pending, superseded = (np.array(sorted(rows), np.int64) for rows in (self.pending, self.superseded))
        return SeenRows(self.file, self.end, pending, superseded)

    def add_own(self, first: int, ids: list[int]) -> None:
        """Add rows that the caller, who still holds the writer's lock, stored and synced."""
        self._table.add(ids, range(first, first + len(ids)))
        self.end = self.synced = first + len(ids)

    def _add_row(self, logo_id: int, row: int) -> None:
        """Add a row. If another whole row holds the same logo, the later one counts."""
        other = self.find(logo_id)
        if other is not None and self._is_whole(other, np.array([logo_id])):
            self.superseded.add(min(row, other))
            row = max(row, other)
        self._table.add([logo_id], [row])

    def _doubled(self, ids: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Return the rows that share their id with another row: the whole ones, and the damaged ones."""
        _, place, count = np.unique(ids[rows], return_inverse=True, return_counts=True)
        found: tuple[list[int], list[int]] = [], []
        for row in rows[count[place] > 1].tolist():
            found[not self._is_whole(row, ids[row : row + 1])].append(row)
        return found

    def _is_whole(self, row: int, slot: NDArray[np.int64]) -> bool:
        return bool(slot[0]) and bool(self.file.checked(row, slot)[1][0])

    def make_durable(self) -> None:
        """Sync the file unless all known rows are on the disk; StoreUnavailableError if that fails."""
        if self.synced < self.end:
            self.file.sync()
            self.synced = self.end


def _sorted(ids: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort by id; keep the last of equal ids."""
    order = np.argsort(ids, kind="stable")
    ids, rows = ids[order], rows[order]
    last = np.ones(len(ids), bool)
    np.not_equal(ids[1:], ids[:-1], out=last[:-1])
    return (ids, rows) if last.all() else (ids[last], rows[last])
