"""How many logos a store holds: counted once, then kept up to date, however many processes change the file.

Rows change in two places only, so the rest need not be read again:

- At the end, where logos are stored. A batch has at most `WINDOW` rows, so rows further from the end are *settled*:
  nobody is still writing them, or undoing them after a failed sync.
- Anywhere, when rows are removed: those of deleted logos, and damaged ones. Whoever removes them writes to the deletion
  log first, holding the writer's lock (`deletions.py`). So a count of settled rows is valid until the log changes, if
  the log was the same when counting began and nobody held the lock then: all that it lists had been done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings.store.deletions import DeletionLog, LogPlace
from embeddings.store.id_table import WINDOW
from embeddings.store.seen_rows import SeenRows
from embeddings.store.writer_lock import is_free

_UNSETTLED = 2 * WINDOW  # rows that are counted each time; half of them may be settled by then


@dataclass(frozen=True, slots=True)
class _Settled:
    """The number of logos in the rows before `end`, counted at a `place` of the deletion log."""

    seen: SeenRows
    place: LogPlace | None
    end: int = 0
    logos: int = 0

    def holds(self, seen: SeenRows, place: LogPlace | None) -> bool:
        return (
            place is not None
            and self.place == place
            and self.seen.file is seen.file
            and np.array_equal(self.seen.superseded, seen.superseded)
        )


class LiveCount:
    """Counts the logos of one store. Threads may share it."""

    def __init__(self, store_path: Path, deletions: DeletionLog) -> None:
        self._path = store_path
        self._deletions = deletions
        self._settled: _Settled | None = None

    def count(self, look: Callable[[], SeenRows]) -> int:
        """Look at the file, and return the number of logos.

        This takes microseconds, or a scan of all id slots after a deletion, and while another process adds or deletes.
        """
        place = self._deletions.place()  # before the look: a row removed meanwhile shows the next time
        settled = self._settled
        seen = look()
        if settled is None or not settled.holds(seen, place):
            settled = _Settled(seen, place)
            keep = place is not None and is_free(self._path)
        else:
            keep = seen.end - settled.end > _UNSETTLED
        if seen.end - settled.end > _UNSETTLED:
            end = seen.end - WINDOW
            settled = dataclasses.replace(settled, end=end, logos=settled.logos + seen.count(settled.end, end))
        if keep:
            self._settled = settled
        return settled.logos + seen.count(settled.end, seen.end)
