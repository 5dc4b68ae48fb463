"""Copies of a store in use, and the way back.

A backup is a store itself, in which each row has the place that it has in the original, and as sparse. So a run that
was stopped is continued, and a second backup into the same file copies only what is new.

Backing up, step by step
    1.  Note which rows the store holds, once they are on its disk. Nothing is locked: a row only changes to be deleted.
    2.  Go on with the file TARGET if it is an earlier backup, with `TARGET.partial` if a first one was stopped; else
        begin that.
    3.  Copy the rows that are missing there, a block at a time: read, check, write content, sync, write ids. Sync.
    4.  Only now negate the ids that were deleted since, and sync. So a logo that was deleted and added again is never
        missing: a run that ends in between leaves it in two rows, of which every reader takes the later, whole one
        (`KnownRows`). A restored copy holds it once, and whoever writes to the file, or continues the run, negates the
        row before.
    5.  Read all of it back from its disk, and hold every row against its checksum.
    6.  Give a new one its name, and sync the directory.

At every moment the file is a store of whole rows, and holds each logo that it held before and the store still holds.

A row that is damaged in the store is left out and named; if an earlier backup holds it, it stays there. A store whose
rows have moved (`compact`, `grow`) needs a new backup: an old one is refused, and never replaced. So is one that has no
room for the provenance that the store keeps. Damaged provenance is left out, and the row copied.

Restoring is the same copy, from the backup to a new file beside the store's place, which then takes that place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from durable import make_directory, sync_directory
from embeddings.errors import BackupError, StoreLayoutError, StoreUnavailableError, storage_errors
from embeddings.maintenance.repair import QUARANTINED
from embeddings.maintenance.replacement import keep, refuse_without_room, take_owner
from embeddings.store.damaged_rows import log_lost_provenance, some_ids
from embeddings.store.id_table import WINDOW
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from embeddings.store.store_path import create_store, draft_path
from embeddings.store.writer_lock import writer_lock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a backup or a restored store holds.

    Attributes:
        logos: how many logos it holds.
        copied: rows copied by this run.
        damaged: ids of rows that are damaged in the source and not in the copy.
        kept_as: the store that a restored one has replaced.
    """

    logos: int
    copied: int
    damaged: list[int]
    kept_as: Path | None = None


def backup_store(path: Path, target: Path, progress: Callable[[int], None] = lambda rows: None) -> CopyReport:
    """Copy a store, which services may be using, into a new file or on top of an earlier backup.

    Args:
        path: the store file.
        target: the backup.
        progress: called with the number of rows just copied or read back; both walks together see `2 n` rows.

    Raises:
        BackupError: there is another file at `target`, or it does not read back.
        StoreError: it cannot be done; the message says why. What was copied stays, and the next run goes on.
    """
    path, target = path.resolve(), target.resolve()
    if target == path:
        raise BackupError(f"{target} is the store itself: name another file")
    with EmbeddingStore(path, writable=False) as store, storage_errors(f"write {target}"), writer_lock(target):
        if target.exists():
            return _copy(store, target, progress, anew=False)
        partial = target.with_name(f"{target.name}.partial")
        report = _copy(store, partial, progress, anew=True)
        partial.replace(target)
        sync_directory(target.parent)
        return report


def restore_store(
    backup: Path, path: Path, *, replace: bool = False, progress: Callable[[int], None] = lambda rows: None
) -> CopyReport:
    """Put a copy of a backup in the place of a store. Running services notice, and go on with it.

    Args:
        backup: the file that `backup_store` made, or any store file.
        path: the store file.
        replace: whether it may take the place of a store that is there; that one is kept beside it.
        progress: as for `backup_store`.

    Raises:
        StoreUnavailableError: there is a store, and `replace` was not said.
        BackupError: the copy does not read back.
        StoreError: it cannot be done; the message says why. The store is as it was.
    """
    backup, path = backup.resolve(), path.resolve()
    partial = path.with_name(f"{path.name}.restoring")
    with EmbeddingStore(backup, writable=False) as saved, storage_errors(f"restore {path}"):
        make_directory(path.parent)
        with writer_lock(partial):
            return _restore(saved, partial, path, replace, progress)


def _restore(
    saved: EmbeddingStore, partial: Path, path: Path, replace: bool, progress: Callable[[int], None]
) -> CopyReport:
    _refuse_to_replace(path, replace)
    report = _copy(saved, partial, progress, anew=True)
    with writer_lock(path) as check:
        _refuse_to_replace(path, replace)
        kept_as = None
        if path.exists():
            take_owner(path, partial)
            kept_as = keep(path, path, "replaced")
        check()
        partial.replace(path)
        sync_directory(path.parent)
    return CopyReport(report.logos, report.copied, report.damaged, kept_as)


def _refuse_to_replace(path: Path, replace: bool) -> None:
    if path.exists() and not replace:
        raise StoreUnavailableError(
            f"there is a store at {path}: say --replace, and it is kept beside the restored one"
        )


def _copy(store: EmbeddingStore, target: Path, progress: Callable[[int], None], *, anew: bool) -> CopyReport:
    """Make a file hold what a store holds, and read it back; `anew`: a file that does not fit is begun again."""
    source, slots = store.settled()
    copy, held = _open_copy(store.path, source, slots, target, anew=anew)
    refuse_without_room(target, int(np.count_nonzero((slots != 0) & (held == 0))), source.dim)
    copied = 0
    damaged: list[int] = []
    for first in range(0, len(slots), WINDOW):
        rows = slice(first, first + WINDOW)
        new, bad = _copy_rows(source, copy, first, np.where(held[rows] == 0, slots[rows], 0))
        copied += new
        damaged += bad
        progress(len(held[rows]))
    copy.sync()
    _delete_rows(copy, slots)
    copy.sync()
    copy.drop_cache()
    logos = _read_back(copy, len(slots), progress)
    if damaged:
        logger.error("Left out %d damaged rows of %s, of logos %s", len(damaged), store.path, some_ids(damaged))
    return CopyReport(logos, copied, damaged)


def _open_copy(
    store_path: Path, source: StoreFile, slots: NDArray[np.int64], target: Path, *, anew: bool
) -> tuple[StoreFile, NDArray[np.int64]]:
    """Open or begin the copy; return it and the id slots that it holds, one for each of the source."""
    draft_path(target).unlink(missing_ok=True)  # a second name of the copy, if a run was killed as it began
    if target.exists():
        try:
            copy = StoreFile(target, writable=True)
            return copy, _held(source, slots, copy)
        except (BackupError, StoreLayoutError):
            if not anew:
                raise
            target.unlink()
    create_store(target, capacity=source.capacity, dim=source.dim, stamp=source.stamp)
    take_owner(store_path, target)
    return StoreFile(target, writable=True), np.zeros(len(slots), np.int64)


def _held(source: StoreFile, slots: NDArray[np.int64], copy: StoreFile) -> NDArray[np.int64]:
    all_held = copy.ids(0, copy.capacity)
    held = all_held[: len(slots)]
    fits = (held == 0) | (held == slots) | (held == -slots) & (held > 0) | (slots == QUARANTINED)
    if source.keeps_provenance and not copy.keeps_provenance:
        raise BackupError(f"{copy.path} is from before provenance was kept, and has no room for it: name a new file")
    same = (copy.capacity, copy.dim, copy.stamp) == (source.capacity, source.dim, source.stamp)
    if not same or not fits.all() or all_held[len(slots) :].any():
        raise BackupError(
            f"{copy.path} is no earlier backup of {source.path} as it is now: name a new file. (After `compact` or "
            "`grow` that is as it should be; else let `manage.py verify` look at both.)"
        )
    return held


def _copy_rows(source: StoreFile, copy: StoreFile, first: int, slots: NDArray[np.int64]) -> tuple[int, list[int]]:
    """Copy a block of rows, those whose slot is not 0; return how many, and the ids of those that are damaged."""
    if not slots.any():
        return 0, []
    embeddings, good = source.checked(first, slots)
    records, torn = source.records(first, slots)
    log_lost_provenance(source.path, slots[torn & good].tolist())
    whole = np.flatnonzero(good)
    runs = np.split(whole, np.flatnonzero(np.diff(whole) > 1) + 1) if len(whole) else []
    for run in runs:
        copy.write_content(first + int(run[0]), slots[run], embeddings[run], records[run])
    copy.sync()
    for run in runs:
        copy.write_ids(first + int(run[0]), slots[run])
    return len(whole), slots[(slots != 0) & ~good].tolist()


def _delete_rows(copy: StoreFile, slots: NDArray[np.int64]) -> None:
    """Negate the ids that the source has deleted, or has put aside while the copy holds them in a later row, too."""
    held = copy.ids(0, len(slots))
    gone = (held > 0) & (slots == -held)
    aside = (held > 0) & (slots == QUARANTINED)
    if aside.any():
        rows = np.flatnonzero(np.isin(held, held[aside]))
        last = dict(zip(held[rows].tolist(), rows.tolist(), strict=True))
        gone[rows] |= [last[logo_id] != row for logo_id, row in zip(held[rows].tolist(), rows.tolist(), strict=True)]
    for row in np.flatnonzero(gone).tolist():
        copy.write_ids(row, -held[row : row + 1])


def _read_back(copy: StoreFile, rows: int, progress: Callable[[int], None]) -> int:
    """Hold every row against its checksum; return how many logos there are."""
    logos = 0
    damaged: list[int] = []
    for first in range(0, rows, WINDOW):
        slots = copy.ids(first, min(first + WINDOW, rows))
        good = copy.checked(first, slots)[1] & ~copy.records(first, slots)[1]
        damaged += slots[(slots != 0) & ~good].tolist()
        logos += int(np.count_nonzero(slots > 0))
        progress(len(slots))
    if damaged:
        raise BackupError(
            f"{copy.path} does not read back: {len(damaged)} rows are damaged, of logos {some_ids(damaged)}: see to "
            "its disk, and name a new file"
        )
    return logos
