"""The rows of a store file as seen at one moment, and which of them count.

This takes little memory, whatever the store's size: the id slots stay in the file, and are read a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embeddings.store.store_file import StoreFile

BLOCK = 1 << 14  # rows: 128 KiB of id slots, which stay in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class SeenRows:
    """The rows of a store file at one moment.

    Attributes:
        file: the open file.
        end: rows before this one were seen.
        pending: (n,) ascending: rows that are not known to be whole yet.
        superseded: (n,) ascending: rows whose logo a later row holds too; they count as deleted.
    """

    file: StoreFile
    end: int
    pending: NDArray[np.int64]
    superseded: NDArray[np.int64]

    def slots(self, first: int, stop: int) -> NDArray[np.int64]:
        """Return the current id slots of the rows from `first` up to `stop` or the end: (n,).

        They are 0 for pending rows, and negative for superseded ones.
        """
        slots = self.file.ids(first, min(stop, self.end))
        pending, superseded = (_within(rows, first, stop) for rows in (self.pending, self.superseded))
        if len(pending) or len(superseded):
            slots = slots.copy()
            slots[pending] = 0
            slots[superseded] = -np.abs(slots[superseded])
        return slots

    def blocks(self, first: int, stop: int) -> Iterator[NDArray[np.int64]]:
        """Yield `slots` of the same rows, `BLOCK` at a time."""
        for start in range(first, min(stop, self.end), BLOCK):
            yield self.slots(start, min(start + BLOCK, stop))

    def count(self, first: int, stop: int) -> int:
        """Return how many logos the rows from `first` up to `stop` hold now."""
        return sum(int(np.count_nonzero(slots > 0)) for slots in self.blocks(first, stop))

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all logos, (n,), in the order they were stored."""
        slots = self.slots(0, self.end)
        return slots[slots > 0]

    def added_since(self, before: SeenRows | None) -> NDArray[np.int64]:
        """Return the ids, (n,), in rows that were not seen, or still pending, in `before`; all ids if it is None.

        A logo that was deleted and added again is included, because it has another row.
        """
        if before is None or before.file is not self.file:
            return self.ids()
        late = before.pending[~np.isin(before.pending, self.pending)]
        slots = np.concatenate([self.slots(row, row + 1) for row in late.tolist()] + [self.slots(before.end, self.end)])
        return slots[slots > 0]


def _within(rows: NDArray[np.int64], first: int, stop: int) -> NDArray[np.int64]:
    """Return the ascending rows from `first` up to `stop`, counted from `first`."""
    if not len(rows):
        return rows
    return rows[slice(*rows.searchsorted([first, stop]))] - first
