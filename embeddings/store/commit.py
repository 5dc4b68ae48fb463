"""The last step of every change: write id slots, which add or remove rows, and sync."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreError, StoreUnavailableError
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import KnownRows
from embeddings.store.store_file import StoreFile


def commit(file: StoreFile, slots: dict[int, NDArray[np.int64]]) -> None:
    """Write id slots, by their first row, and sync. If the sync fails, negate them, so that no row becomes free."""
    for row, ids in slots.items():
        file.write_ids(row, ids)
    try:
        file.sync()
    except StoreUnavailableError:
        with suppress(StoreError):
            for row, ids in slots.items():
                file.write_ids(row, -ids)
        raise


def finish_replacements(known: KnownRows, deletions: DeletionLog) -> None:
    """Negate rows whose logo a later row holds; otherwise deleting the logo would bring the earlier row back.

    The later rows are synced first, because their writer may have been killed before doing so. The log grows after
    their ids are visible and before the earlier rows are removed: a reader that sees it grown also sees the later rows.
    """
    known.make_durable()
    rows = sorted(known.superseded)
    slots = {row: ids for row in rows if (ids := known.file.ids(row, row + 1))[0] > 0}
    deletions.write([], replaced=[int(ids[0]) for ids in slots.values()])
    commit(known.file, {row: -ids for row, ids in slots.items()})
    known.superseded.difference_update(rows)
