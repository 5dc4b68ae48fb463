"""Which row of a store file holds a logo: millions of ids in 16 bytes each, looked up without a lock.

`IdTable` is the table, `KnownRows` fills it from a file that other processes are writing (the protocol is described in
`store.py`).
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
    recent: dict[int, int]  # id -> row; what is here goes before the arrays


class IdTable:
    """Maps logo ids to rows; of an id added twice, the row added last counts.

    Nearly all ids lie in two sorted arrays, the latest in a small dict, which is merged into new arrays when it has
    grown. All three are replaced as one, so any number of threads may look up an id while one adds some.

    Args:
        ids: (n,) logo ids in any order.
        rows: (n,) the row of each.
        merge_at: how many recent ids the dict takes (about 100 bytes each) before they are merged into the arrays.
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
        """Return the row of each of (n,) logo ids, -1 where there is none."""
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
    """One open file, and which rows of it this process knows. `find` takes no lock; one thread at a time does the rest.

    Opening reads the ids up to the last used one, not the hole after it.

    Attributes:
        end: rows before this one are known, but for the pending ones.
        deleted: ids of rows that were deleted before this process saw them; some may have been added again.
        pending: rows to look at again: their slot was empty, or their checksum disagreed.
        superseded: whole rows whose logo a later whole row holds, too. Only a backup that was killed as it was brought
            up to date has such rows (`backup.py`); they count as deleted.
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
        self.end = max(0, self.end - WINDOW)  # `look` checks the rest: it may be of a batch that is being written
        ids = np.concatenate(blocks)[: self.end]
        rows = np.flatnonzero(ids > 0)
        self._table = IdTable(ids[rows], rows)
        if len(self._table) < len(rows):
            whole, damaged = self._doubled(ids, rows)
            rows = np.setdiff1d(rows, damaged)  # bits of their ids may have rotted
            self._table = IdTable(ids[rows], rows)
            self.superseded.update(row for row in whole if self._table.row_of(int(ids[row])) != row)
        self.deleted = set((-ids[ids < 0]).tolist())
        self.pending = set(np.flatnonzero(ids == 0).tolist())
        self.look()

    def find(self, logo_id: int) -> int | None:
        """Return the row of a logo, or None. The file has the last word: another process may have deleted the logo."""
        if not 0 < logo_id <= MAX_ID:
            return None
        row = self._table.row_of(logo_id)
        return row if row is not None and self.file.id_at(row) == logo_id else None

    def find_all(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each of (n,) logos, -1 where none is known. It may have been deleted since."""
        return self._table.rows_of(logo_ids)

    def look(self, *, alone: bool = False) -> None:
        """Take in the rows stored since the last look; `alone` says that the caller holds the writer's lock."""
        while (used := np.flatnonzero(ids := self.file.ids(self.end, self.end + WINDOW))).size:
            ids = ids[: used[-1] + 1]
            _, good = self.file.checked(self.end, ids)
            live = np.flatnonzero(good & (ids > 0))
            for row in live.tolist():
                self._take_in(int(ids[row]), self.end + row)
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
                    self._take_in(int(ids[0]), row)
                    self.synced = min(self.synced, row)

    def seen(self) -> SeenRows:
        """Return what the last look saw."""
        pending, superseded = (np.array(sorted(rows), np.int64) for rows in (self.pending, self.superseded))
        return SeenRows(self.file, self.end, pending, superseded)

    def take_own(self, first: int, ids: list[int]) -> None:
        """Take in rows that the caller, who still holds the writer's lock, stored and synced."""
        self._table.add(ids, range(first, first + len(ids)))
        self.end = self.synced = first + len(ids)

    def _take_in(self, logo_id: int, row: int) -> None:
        """Take in a row; if another whole row holds the same logo, the later of both counts."""
        other = self.find(logo_id)
        if other is not None and self._is_whole(other, np.array([logo_id])):
            self.superseded.add(min(row, other))
            row = max(row, other)
        self._table.add([logo_id], [row])

    def _doubled(self, ids: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Return those of the rows that hold the same id as another: the whole ones, and the damaged ones."""
        _, place, count = np.unique(ids[rows], return_inverse=True, return_counts=True)
        found: tuple[list[int], list[int]] = [], []
        for row in rows[count[place] > 1].tolist():
            found[not self._is_whole(row, ids[row : row + 1])].append(row)
        return found

    def _is_whole(self, row: int, slot: NDArray[np.int64]) -> bool:
        return bool(slot[0]) and bool(self.file.checked(row, slot)[1][0])

    def make_durable(self) -> None:
        """Make sure that all known rows are on the disk; StoreUnavailableError if that fails."""
        if self.synced < self.end:
            self.file.sync()
            self.synced = self.end


def _sorted(ids: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort by id; of equal ids keep the last given."""
    order = np.argsort(ids, kind="stable")
    ids, rows = ids[order], rows[order]
    last = np.ones(len(ids), bool)
    np.not_equal(ids[1:], ids[:-1], out=last[:-1])
    return (ids, rows) if last.all() else (ids[last], rows[last])
