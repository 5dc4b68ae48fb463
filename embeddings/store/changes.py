"""What was stored and deleted since some moment: for whoever keeps a copy of the logos elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.store.seen_rows import SeenRows


@dataclass(frozen=True, slots=True)
class StoreMark:
    """A moment in the life of a store, told by what its files held then; it outlives the process.

    Attributes:
        file: device and inode of the store's file.
        row: the first row that was not there yet, or not whole.
        last_slot: what the id slot before that one held, without its sign; 0 before the first row.
        log: inode of the log of deletions; 0 if there was none.
        log_size: its bytes.
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
        """Read what `as_json` returned; `None` if it is something else."""
        try:
            mark = cls(**value)  # type: ignore[arg-type]
            device, inode = mark.file
        except (TypeError, ValueError):
            return None
        numbers = (device, inode, mark.row, mark.last_slot, mark.log, mark.log_size)
        return replace(mark, file=(device, inode)) if all(type(n) is int and n >= 0 for n in numbers) else None

    @classmethod
    def at(cls, seen: SeenRows, log: int, log_size: int) -> StoreMark:
        """Return the moment of a look at the rows."""
        row = int(seen.pending[0]) if len(seen.pending) else seen.end
        return cls(_identity(seen), row, _slot_before(seen, row), log, log_size)

    def at_row(self, row: int, last_id: int) -> StoreMark:
        """Return the moment when there were only the rows before `row`, but the deletions of this moment.

        Args:
            row: at most that of this moment.
            last_id: the id of the logo in the row before it; 0 before the first row.
        """
        return replace(self, row=row, last_slot=last_id)

    def is_of(self, seen: SeenRows) -> bool:
        """Say whether a look at a store saw what came after this moment, in the same file."""
        return self.file == _identity(seen) and self.row <= seen.end and self.last_slot == _slot_before(seen, self.row)


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened between two moments.

    Attributes:
        mark: the later moment.
        first_row: the first row that the earlier moment did not know; 0 if `complete`.
        added: (n,) the ids of logos that were stored, in their order; some of them may have been before.
        deleted: the ids of logos that were deleted in between and are not stored now, perhaps of others, too.
        readded: the ids of logos that were deleted in between and are stored now: their vectors may be others.
        complete: whether these are all logos, and all deletions: the earlier moment is unknown, or of another file.
    """

    mark: StoreMark
    first_row: int
    added: NDArray[np.int64]
    deleted: list[int]
    readded: list[int]
    complete: bool


def _identity(seen: SeenRows) -> tuple[int, int]:
    return seen.file.status.st_dev, seen.file.status.st_ino


def _slot_before(seen: SeenRows, row: int) -> int:
    return abs(seen.file.id_at(row - 1)) if row else 0
