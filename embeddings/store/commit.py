"""The last step of every change: write id slots, which add or remove rows, and sync."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreError, StoreUnavailableError
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


def finish_deletions(known: KnownRows) -> None:
    """Negate rows whose logo a later row holds; otherwise deleting the logo would bring the earlier row back."""
    slots = {row: known.file.ids(row, row + 1) for row in known.superseded}
    commit(known.file, {row: -ids for row, ids in slots.items() if ids[0] > 0})
    known.superseded.clear()
