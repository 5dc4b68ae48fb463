"""How many logos a store holds, counted once and then kept up to date, however many processes change the file.

Rows change in two places only, so the rest need not be read again:

- At the end, where logos are stored. A batch has at most `WINDOW` rows, so those that lie further from the end are
  *settled*: nobody is still writing them, or taking them back after a failed sync.
- Anywhere, where rows go: those of deleted logos, and damaged ones. Whoever does that writes to the deletion log first,
  holding the writer's lock (`deletions.py`). So a count of settled rows holds for as long as the log stays as it is, if
  it began when the log was as it is now and nobody held the lock: whatever the log tells of had been done.
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
    """How many logos the rows before `end` hold, counted at a `place` of the deletion log."""

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
        """Return how many logos there are, having looked at the file.

        It takes microseconds; a scan of all id slots after something was deleted, and while somebody deletes or adds.
        """
        place = self._deletions.place()  # before the look: what goes meanwhile shows the next time
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
