"""The last step of every change: id slots, which make rows exist or go, and a sync."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreError, StoreUnavailableError
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import KnownRows
from embeddings.store.store_file import StoreFile


def commit(file: StoreFile, slots: dict[int, NDArray[np.int64]]) -> None:
    """Write id slots, by their first row, and sync; take them back if that fails, in a way that never frees a row."""
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
    """Negate the rows whose logo a later row holds: else it would come back with the next deletion.

    The later rows are synced first: who wrote them may have been killed before that. The log grows after their ids can
    be seen, and before the earlier rows go: who finds that it grew finds the later rows, too.
    """
    known.make_durable()
    rows = sorted(known.superseded)
    slots = {row: ids for row in rows if (ids := known.file.ids(row, row + 1))[0] > 0}
    deletions.write([], replaced=[int(ids[0]) for ids in slots.values()])
    commit(known.file, {row: -ids for row, ids in slots.items()})
    known.superseded.difference_update(rows)
