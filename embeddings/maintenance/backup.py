"""Back up a store in use, and restore it.

A backup is itself a store. Each row has the same place as in the original, and the file is as sparse. So an interrupted
run resumes, and a second backup into the same file copies only new rows.

Backing up, step by step
    1.  Note which rows the store holds, after a sync. Nothing is locked: a row changes only when it is deleted.
    2.  Choose the file: TARGET if it is an earlier backup, `TARGET.partial` if a first backup was interrupted, else a
        new `TARGET.partial`.
    3.  Copy the missing rows, a block at a time: read, check, write content, sync, write ids. Then sync.
    4.  Only now negate the ids that were deleted since, and sync. So a logo that was deleted and added again is never
        missing: a run that ends in between leaves it in two rows, and every reader uses the later, whole one
        (`KnownRows`). A restored copy holds it once; the next writer or the next run negates the earlier row.
    5.  Read everything back from the disk, and check every row against its checksum.
    6.  Rename a new backup to TARGET, and sync the directory.

At every moment the file is a store of whole rows, and keeps each logo that it held before if the store still has it.

A row that is damaged in the store is skipped and its logo is named; if an earlier backup holds it, it stays there. A
store whose rows have moved (`compact`, `grow`) needs a new backup: an old one is refused, and never replaced. A backup
without room for the provenance that the store keeps is refused too. A row with damaged provenance is copied without it.

Restoring is the same copy, from the backup to a new file beside the store, which is then renamed to the store's path.
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
        damaged: ids of rows that are damaged in the source and missing in the copy.
        kept_as: the old store, if a restored one replaced it.
    """

    logos: int
    copied: int
    damaged: list[int]
    kept_as: Path | None = None


def backup_store(path: Path, target: Path, progress: Callable[[int], None] = lambda rows: None) -> CopyReport:
    """Copy a store, which may be in use, to a new file or on top of an earlier backup.

    Args:
        path: the store file.
        target: the backup.
        progress: called with the number of rows just copied or read back; both passes together report `2 n` rows.

    Raises:
        BackupError: there is another file at `target`, or the backup does not read back.
        StoreError: it failed; the message says why. What was copied stays, and the next run resumes.
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
    """Put a copy of a backup in the place of a store. Running services notice, and switch to it.

    Args:
        backup: a file made by `backup_store`, or any store file.
        path: the store file.
        replace: whether to replace an existing store; that one is kept beside it.
        progress: as for `backup_store`.

    Raises:
        StoreUnavailableError: there is a store, and `replace` is False.
        BackupError: the copy does not read back.
        StoreError: it failed; the message says why. The store is unchanged.
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
            f"there is a store at {path}: pass --replace to replace it; the old one is kept beside the restored one"
        )


def _copy(store: EmbeddingStore, target: Path, progress: Callable[[int], None], *, anew: bool) -> CopyReport:
    """Copy a store to a file, and read the copy back. With `anew`, a file that does not fit is started over."""
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
    """Open or create the copy; return it and the id slots that it holds, one for each row of the source."""
    draft_path(target).unlink(missing_ok=True)  # a second name of the copy, left if a run was killed at its start
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
        raise BackupError(f"{copy.path} is older than provenance, and has no room for it: name a new file")
    same = (copy.capacity, copy.dim, copy.stamp) == (source.capacity, source.dim, source.stamp)
    if not same or not fits.all() or all_held[len(slots) :].any():
        raise BackupError(
            f"{copy.path} is not an earlier backup of {source.path} as it is now: name a new file. (This is expected "
            "after `compact` or `grow`; otherwise run `manage.py verify` on both.)"
        )
    return held


def _copy_rows(source: StoreFile, copy: StoreFile, first: int, slots: NDArray[np.int64]) -> tuple[int, list[int]]:
    """Copy the rows of a block whose slots are not 0; return how many, and the ids of the damaged ones."""
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
    """Negate ids that the source has deleted, or has quarantined while the copy holds their logos in a later row."""
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
    """Check every row against its checksum; return the number of logos."""
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
            f"{copy.path} does not read back: {len(damaged)} rows are damaged, of logos {some_ids(damaged)}: check "
            "its disk, and name a new file"
        )
    return logos
