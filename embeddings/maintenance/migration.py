"""Move a store from the original's layout to ours, under the writer's lock. The old file is kept beside the new one.

A store of ours with a damaged header or metadata is migrated too, if the operator asks for it, and only if every row
agrees with its checksum.

Step by step:

    1.  Create the new file under a name that nobody opens. What a crashed run left there is removed.
    2.  Copy the rows into it, in their order, and sync it.
    3.  Give the old file a second name beside the first, and sync the directory.
    4.  Replace the old file by the new one with one rename, and sync the directory.

So there is a whole store at the path at every instant, and a killed run is simply started again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from durable import sync_directory
from embeddings.errors import StoreError, StoreLayoutError, storage_errors
from embeddings.maintenance.replacement import keep, refuse_without_room, take_owner
from embeddings.maintenance.rewrite_report import RewriteReport
from embeddings.store.damaged_rows import log_lost_provenance
from embeddings.store.hdf5_file import lay_out, open_hdf5
from embeddings.store.id_table import WINDOW
from embeddings.store.layout import Layout, keep_writers_out
from embeddings.store.provenance import Records, no_records, sound_records
from embeddings.store.store_file import StoreFile, checksums_of
from embeddings.store.store_path import draft_path

_BLOCK_BYTES = 1 << 28  # of embeddings: the most to read at once from the original's chunks

logger = logging.getLogger(__name__)


def migrate(path: Path, layout: Layout, capacity: int | None, progress: Callable[[int], None]) -> RewriteReport:
    """Rewrite a file of the original. The caller holds the writer's lock.

    Args:
        path: the file.
        layout: HDF5's description of it, read under the lock by `hdf5_probe.py`, so its metadata is sound.
        capacity: rows of the new file; None keeps the old capacity.
        progress: called with the number of rows just copied.

    Raises:
        StoreError: it failed; the message says why. The store is unchanged.
    """
    draft = draft_path(path)
    not_finite: list[int] = []
    torn: list[int] = []
    # While the file is open, no other program can open it for writing.
    with storage_errors(f"rewrite {path}"), path.open("rb") as file:
        draft.unlink(missing_ok=True)
        keep_writers_out(file.fileno(), path)
        with open_hdf5(file.fileno()) as hdf5:
            ids = hdf5["external_id"][:].astype(np.int64)
            checksums = hdf5["crc32"][:] if "crc32" in hdf5 else None
            rows = _last_of_each(ids)
            capacity = layout.capacity if capacity is None else capacity
            if capacity < len(rows):
                raise StoreError(f"{path} holds {len(rows)} logos: a capacity of {capacity} rows is too small")
            refuse_without_room(draft, len(rows), layout.dim)
            logger.info("Copying %d logos of %s into a new file of %d rows", len(rows), path, capacity)
            try:
                lay_out(draft, capacity=capacity, dim=layout.dim, stamp=layout.stamp)
                take_owner(path, draft)
                target = StoreFile(draft, writable=True)
                end = 0
                for wanted, embeddings in _blocks(hdf5["embedding"], rows):
                    if checksums is not None and (checksums_of(ids[wanted], embeddings) != checksums[wanted]).any():
                        raise StoreLayoutError(f"{path} has lost its header and rows of it: restore it from a backup")
                    records, damaged = _records(hdf5.get("provenance"), wanted, ids[wanted])
                    torn += ids[wanted][damaged].tolist()
                    target.write_content(end, ids[wanted], embeddings, records)
                    target.write_ids(end, ids[wanted])
                    not_finite += ids[wanted][~np.isfinite(embeddings).all(axis=1)].tolist()
                    end += len(wanted)
                    progress(len(wanted))
                target.sync()
                kept_as = keep(path, path, "original")
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    used = np.trim_zeros(ids, "b")
    report = RewriteReport(
        rows=len(rows),
        duplicates=int(np.count_nonzero(used > 0)) - len(rows),
        damaged=0,
        ignored=int(np.count_nonzero(used <= 0)),
        not_finite=len(not_finite),
        capacity=capacity,
        kept_as=kept_as,
    )
    report.log(path, damaged=[], not_finite=not_finite)
    log_lost_provenance(path, torn)
    return report


def _last_of_each(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of the logos, ascending. If several rows have one id, the last counts."""
    rows = np.flatnonzero(ids > 0)[::-1]
    return np.sort(rows[np.unique(ids[rows], return_index=True)[1]])


def _records(dataset: Any, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[Records, NDArray[np.bool_]]:
    """Return the provenance of ascending rows, empty where damaged, and which are damaged. The original has none."""
    if dataset is None or not len(rows):
        return no_records(len(rows)), np.zeros(len(rows), bool)
    return sound_records(ids, dataset[rows[0] : rows[-1] + 1][rows - rows[0]].tobytes())


def _blocks(dataset: Any, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield runs of the rows and their embeddings. A chunk holds a few columns of many rows, so each is read once."""
    step = max(1, min(dataset.chunks[0] if dataset.chunks else WINDOW, _BLOCK_BYTES // (4 * dataset.shape[1])))
    for first in range(0, len(dataset), step):
        wanted = rows[slice(*rows.searchsorted([first, first + step]))]
        if len(wanted):
            yield wanted, dataset[wanted[0] : wanted[-1] + 1][wanted - wanted[0]]
