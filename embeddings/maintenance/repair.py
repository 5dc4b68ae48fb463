"""Quarantine damaged rows, so that their logos can be added again or restored from a backup.

Step by step:

    1.  Find rows that cannot be read or disagree with their checksum, while the service keeps running.
    2.  Take the writer's lock and check those rows again: a row that was just being written is not damaged.
    3.  Copy what can be read of them into a quarantine file, an ordinary HDF5 file beside the store, and sync it.
    4.  Overwrite them: the id slot becomes `QUARANTINED`, the embedding zeros, and the checksum fits. Sync. If this is
        interrupted at any moment, each row is either as damaged as before, or done. Writing also makes a disk replace
        a bad sector by a good one.
    5.  Where the embedding is good but the provenance damaged, overwrite the provenance by the backup's, or by none.
        Sync.
    6.  Release the lock. With a backup, store the logos that it holds and the store lacks, except deleted ones. This
        also restores a logo whose id slot was damaged, and which the store alone cannot name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from durable import sync_file
from embeddings.errors import StoreModelError, storage_errors
from embeddings.maintenance.replacement import keep
from embeddings.store.damaged_rows import some_ids
from embeddings.store.deletions import DeletionLog
from embeddings.store.provenance import no_records, records_of
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from embeddings.store.writer_lock import writer_lock

QUARANTINED = -(2**63)  # negative, like the slot of a deleted logo, but of no logo

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RepairReport:
    """The rows that were quarantined and the logos that were restored.

    Attributes:
        quarantined: the id slots of the damaged rows, in the order of the rows.
        kept_in: the quarantine file; None if no row was damaged.
        restored: ids of the logos restored from the backup.
        torn: ids of the logos whose provenance was damaged; it is now the backup's, or gone.
    """

    quarantined: list[int]
    kept_in: Path | None
    restored: list[int]
    torn: list[int]


def repair_store(
    path: Path, backup: Path | None = None, progress: Callable[[int], None] = lambda rows: None
) -> RepairReport:
    """Quarantine the damaged rows of a store; services may be using it.

    Args:
        path: the store file.
        backup: a copy of the store to restore lost logos from.
        progress: called with the number of rows just read.

    Raises:
        StoreModelError: the backup is of another model.
        StoreError: it failed; the message says why. The store is unchanged, or repaired in part.
    """
    path = path.resolve()
    with EmbeddingStore(path) as store:
        if backup is None:
            return _mend(path, store, None, progress)
        with EmbeddingStore(backup, writable=False) as saved:
            if (saved.dim, saved.stamp) != (store.dim, store.stamp):
                raise StoreModelError(f"{backup} is a backup of another model's store: name one of {path}")
            report = _mend(path, store, saved, progress)
        # Opened again: the ids in damaged rows must not be believed.
        with EmbeddingStore(path) as mended, EmbeddingStore(backup, writable=False) as saved:
            return replace(report, restored=_bring_back(mended, saved))


def _mend(
    path: Path, store: EmbeddingStore, saved: EmbeddingStore | None, progress: Callable[[int], None]
) -> RepairReport:
    suspects = [row.row for row in store.verify(progress)]
    if not suspects:
        return RepairReport([], None, [], [])
    with writer_lock(path) as check:
        file = StoreFile(path, writable=True)
        damaged = [row for row in suspects if _is_damaged(file, row)]
        slots = np.array([file.id_at(row) for row in damaged], np.int64)
        kept_in = _quarantine(path, file, damaged, slots, check) if damaged else None
        torn = _mend_provenance(file, suspects, saved, check)
        file.sync()
    return RepairReport(slots.tolist(), kept_in, [], torn)


def _quarantine(
    path: Path, file: StoreFile, damaged: list[int], slots: NDArray[np.int64], check: Callable[[], None]
) -> Path | None:
    """Quarantine damaged rows; return the file that keeps what can be read of them."""
    DeletionLog(path).note_removal()
    kept_in = _keep_rows(path, file, np.array(damaged), slots)
    check()
    for row in damaged:
        tombstone = np.array([QUARANTINED])
        file.write_content(row, tombstone, np.zeros((1, file.dim), np.float32), no_records(1))
        file.write_ids(row, tombstone)
    names = some_ids(slots.tolist())
    logger.warning("Quarantined %d damaged rows of %s in %s, of logos %s", len(damaged), path, kept_in, names)
    return kept_in


def _mend_provenance(
    file: StoreFile, rows: list[int], saved: EmbeddingStore | None, check: Callable[[], None]
) -> list[int]:
    """Overwrite the provenance of the rows where it is damaged; return the ids of their logos."""
    slots = {row: file.ids(row, row + 1) for row in rows}
    torn = [row for row in rows if file.records(row, slots[row])[1][0]]
    ids = [abs(int(slots[row][0])) for row in torn]
    origins = saved.provenance(ids) if saved is not None else {}
    check()
    for row, logo_id in zip(torn, ids, strict=True):
        file.write_records(row, records_of([logo_id], [origins.get(logo_id)]))
    if torn:
        logger.warning("Damaged provenance of logos %s: %d restored from the backup", some_ids(ids), len(origins))
    return ids


def _is_damaged(file: StoreFile, row: int) -> bool:
    slot = file.ids(row, row + 1)
    return bool(slot[0]) and not file.checked(row, slot)[1][0]


def _keep_rows(path: Path, file: StoreFile, rows: NDArray[np.int64], slots: NDArray[np.int64]) -> Path | None:
    """Write what can be read of the rows to a new file; None if all were quarantined before."""
    rows, slots = rows[slots != QUARANTINED], slots[slots != QUARANTINED]
    if not len(rows):
        return None
    draft = path.with_name(f"{path.name}.quarantining")
    with storage_errors(f"write {draft}"):
        try:
            with h5py.File(draft, "w", libver="earliest") as hdf5:
                hdf5["row"], hdf5["external_id"] = rows, slots
                hdf5["crc32"] = np.array([file.checksum(row) for row in rows.tolist()], "<u4")
                hdf5["provenance"] = np.concatenate(
                    [file.records(row, slots[place : place + 1])[0] for place, row in enumerate(rows.tolist())]
                )
                hdf5["embedding"] = np.concatenate(
                    [file.checked(row, slots[place : place + 1])[0] for place, row in enumerate(rows.tolist())]
                )
            sync_file(draft)
            kept = keep(draft, path, "quarantine")
        finally:
            draft.unlink(missing_ok=True)
    return kept


def _bring_back(store: EmbeddingStore, saved: EmbeddingStore) -> list[int]:
    restored: list[int] = []
    for ids, embeddings, provenance in saved.snapshot().blocks_with_provenance():
        lost = set(store.missing(ids.tolist()))
        lost -= store.deleted_among(lost)
        wanted = np.isin(ids, list(lost))
        restored += store.append(ids[wanted], embeddings[wanted], [*compress(provenance, wanted)])
    if restored:
        logger.info("Restored %d logos from the backup %s", len(restored), saved.path)
    return restored
