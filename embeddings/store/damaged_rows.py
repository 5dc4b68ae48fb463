"""Finding the damaged rows of a store, and logging each of them once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings.store.id_table import WINDOW
from embeddings.store.seen_rows import SeenRows

_NAMED = 20  # ids that one line of the log names

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row of which something cannot be read or disagrees with its checksum.

    Attributes:
        row: which row.
        logo_id: what its id slot holds.
        embedding: whether the embedding is damaged; else only the provenance is, and the logo is as good as any.
    """

    row: int
    logo_id: int
    embedding: bool = True


def damaged_rows(seen: SeenRows, progress: Callable[[int], None]) -> Iterator[DamagedRow]:
    """Read every used row, deleted ones too, and yield those that are damaged.

    Args:
        seen: a look at the store.
        progress: called with the number of rows just read.
    """
    for first in range(0, seen.end, WINDOW):
        ids = seen.file.ids(first, min(first + WINDOW, seen.end))
        lost = ~seen.file.checked(first, ids)[1] & (ids != 0)
        for row in np.flatnonzero(lost | seen.file.records(first, ids)[1]).tolist():
            yield DamagedRow(first + row, int(ids[row]), bool(lost[row]))
        progress(len(ids))


class DamageLog:
    """Logs which logos a store cannot answer for, each once.

    Args:
        log: of the store.
        message: what became of them; takes the store's path and the ids.
    """

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._told: set[int] = set()

    def tell(self, path: Path, logo_ids: list[int]) -> None:
        """Log those of the logos that were not told of yet."""
        if new := set(logo_ids) - self._told:
            self._told |= new
            self._log.error(self._message, path, some_ids([*new]))


def log_lost_provenance(path: Path, logo_ids: list[int]) -> None:
    """Log the logos whose damaged provenance was not copied from the store at `path`."""
    if logo_ids:
        logger.error("Left out the damaged provenance in %s of logos %s", path, some_ids(logo_ids))


def some_ids(logo_ids: list[int]) -> str:
    """Return ids for a line of the log or a message, which need not name thousands."""
    return ", ".join(map(str, logo_ids[:_NAMED])) + (", ..." if len(logo_ids) > _NAMED else "")
