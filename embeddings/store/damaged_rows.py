"""Find the damaged rows of a store, and log each of them once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings.store.id_table import WINDOW
from embeddings.store.seen_rows import SeenRows

_NAMED = 20  # ids named in one log line

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row with a part that cannot be read or disagrees with its checksum.

    Attributes:
        row: the row number.
        logo_id: the content of its id slot.
        embedding: whether the embedding is damaged; if not, only the provenance is, and the logo can be searched.
    """

    row: int
    logo_id: int
    embedding: bool = True


def damaged_rows(seen: SeenRows, progress: Callable[[int], None]) -> Iterator[DamagedRow]:
    """Read every used row, deleted ones too, and yield those that are damaged.

    Args:
        seen: the rows of the store.
        progress: called with the number of rows just read.
    """
    for first in range(0, seen.end, WINDOW):
        ids = seen.file.ids(first, min(first + WINDOW, seen.end))
        lost = ~seen.file.checked(first, ids)[1] & (ids != 0)
        for row in np.flatnonzero(lost | seen.file.records(first, ids)[1]).tolist():
            yield DamagedRow(first + row, int(ids[row]), bool(lost[row]))
        progress(len(ids))


class DamageLog:
    """Logs the logos that a store cannot return, each once.

    Args:
        log: the store's logger.
        message: what happened to them; a format for the store's path and the ids.
    """

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._logged: set[int] = set()

    def log_new(self, path: Path, logo_ids: list[int]) -> None:
        """Log the ids that were not logged yet."""
        if new := set(logo_ids) - self._logged:
            self._logged |= new
            self._log.error(self._message, path, some_ids([*new]))


def log_lost_provenance(path: Path, logo_ids: list[int]) -> None:
    """Log the logos whose damaged provenance was not copied from the store at `path`."""
    if logo_ids:
        logger.error("Left out the damaged provenance in %s of logos %s", path, some_ids(logo_ids))


def some_ids(logo_ids: list[int]) -> str:
    """Return at most `_NAMED` ids, for a log line or a message."""
    return ", ".join(map(str, logo_ids[:_NAMED])) + (", ..." if len(logo_ids) > _NAMED else "")
