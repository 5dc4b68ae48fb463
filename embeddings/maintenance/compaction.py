"""Move a store into a new file: growing and compacting are one operation, and services keep running.

One rewrite at a time, step by step:

    1.  Create the new file under a name that nobody opens. What a crashed run left there is removed.
    2.  Copy the live rows into it, in their order, while writers continue, and sync it.
    3.  Take the writer's lock. Finish replacing logos, if a process was killed while it did so. Copy the rows stored
        since, and negate those deleted since. Nobody is writing any more, so a row that cannot be read or disagrees
        with its checksum now is damaged, and is skipped.
    4.  Sync the new file. If rows were skipped, give the old file a second name, and sync the directory.
    5.  Replace the old file by the new one with one rename, and sync the directory.

So there is a whole store at the path at every instant, and a killed run is simply started again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from durable import sync_directory
from embeddings.errors import StoreError, StoreUnavailableError, storage_errors
from embeddings.maintenance.replacement import keep, refuse_without_room, take_owner
from embeddings.maintenance.rewrite_report import RewriteReport
from embeddings.store.commit import finish_replacements
from embeddings.store.damaged_rows import log_lost_provenance
from embeddings.store.deletions import DeletionLog
from embeddings.store.hdf5_file import lay_out
from embeddings.store.id_table import WINDOW, KnownRows
from embeddings.store.store_file import StoreFile
from embeddings.store.writer_lock import writer_lock

logger = logging.getLogger(__name__)


def compact(path: Path, capacity: int | None, progress: Callable[[int], None]) -> RewriteReport:
    """Rewrite a store without its deleted and damaged rows.

    Args:
        path: the store file.
        capacity: rows of the new file; None keeps the old capacity.
        progress: called with the number of rows just copied.

    Raises:
        StoreError: it failed; the message says why. The store is unchanged.
    """
    draft = path.with_name(f"{path.name}.rewriting")
    with writer_lock(draft), storage_errors(f"rewrite {path}"):
        draft.unlink(missing_ok=True)
        source = StoreFile(path, writable=False)
        capacity = source.capacity if capacity is None else capacity
        logos = int(np.count_nonzero(source.ids(0, source.capacity) > 0))
        _refuse_if_too_small(path, logos, capacity)
        refuse_without_room(draft, logos, source.dim)
        logger.info("Copying %d logos of %s into a new file of %d rows", logos, path, capacity)
        try:
            lay_out(draft, capacity=capacity, dim=source.dim, stamp=source.stamp)
            take_owner(path, draft)
            copy = _Copy(source, StoreFile(draft, writable=True))
            copy.catch_up(progress)
            copy.target.sync()
            known = KnownRows(StoreFile(path, writable=True))
            with writer_lock(path) as check:
                if not os.path.samestat(path.stat(), source.status):
                    raise StoreUnavailableError(f"another file replaced {path} meanwhile: try again")
                known.look(alone=True)
                if known.superseded:
                    check()
                    finish_replacements(known, DeletionLog(path))
                slots, damaged = copy.catch_up(progress)
                copy.target.sync()
                kept_as = keep(path, path, "damaged") if damaged else None
                check()
                draft.replace(path)
                sync_directory(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    report = RewriteReport(
        rows=int(np.count_nonzero(slots > 0)) - len(damaged),
        duplicates=0,
        damaged=len(damaged),
        ignored=int(np.count_nonzero(np.trim_zeros(slots, "b") <= 0)),
        not_finite=len(copy.not_finite),
        capacity=capacity,
        kept_as=kept_as,
    )
    report.log(path, damaged=damaged, not_finite=copy.not_finite)
    log_lost_provenance(path, copy.torn)
    return report


class _Copy:
    """Copies one file into another, and catches up with its changes."""

    def __init__(self, source: StoreFile, target: StoreFile) -> None:
        self.target = target
        self.not_finite: list[int] = []
        self.torn: list[int] = []  # logos whose provenance is damaged
        self._source = source
        self._rows = np.zeros(0, np.int64)  # of the source, in the order of the target

    def catch_up(self, progress: Callable[[int], None]) -> tuple[NDArray[np.int64], list[int]]:
        """Copy the rows that are not copied yet, and delete those that the source has deleted since.

        Returns:
            The id slots of the source, and the ids of rows that are damaged or still being written.
        """
        slots = self._source.ids(0, self._source.capacity)
        for row in np.flatnonzero(slots[self._rows] <= 0).tolist():
            self.target.write_ids(row, -self.target.ids(row, row + 1))
        rows = np.setdiff1d(np.flatnonzero(slots > 0), self._rows, assume_unique=True)
        _refuse_if_too_small(self._source.path, len(self._rows) + len(rows), self.target.capacity)
        bad: list[int] = []
        copied = [self._rows]
        end = len(self._rows)
        while len(rows):
            run, rows = np.split(rows, [rows.searchsorted(rows[0] + WINDOW)])
            first, of_run = int(run[0]), slots[run[0] : run[-1] + 1]
            embeddings, good = self._source.checked(first, of_run)
            records, torn = self._source.records(first, of_run)
            whole = good[run - first]
            places = (run - first)[whole]
            if len(places):
                self.target.write_content(end, of_run[places], embeddings[places], records[places])
                self.target.write_ids(end, of_run[places])
            self.not_finite += of_run[places][~np.isfinite(embeddings[places]).all(axis=1)].tolist()
            self.torn += of_run[places[torn[places]]].tolist()
            copied.append(run[whole])
            end += len(copied[-1])
            bad += slots[run[~whole]].tolist()
            progress(len(run))
        self._rows = np.concatenate(copied)
        return slots, bad


def _refuse_if_too_small(path: Path, logos: int, capacity: int) -> None:
    if capacity < logos:
        raise StoreError(f"{path} holds {logos} logos: a capacity of {capacity} rows is too small")
