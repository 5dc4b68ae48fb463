"""Moving a store into a new file: the migration from the original's layout, growth and compaction are one operation.

Step by step, under the writer's lock, while readers go on and writers wait:

    1.  Make the new file under a name that nobody opens. What a crashed run left there is thrown away.
    2.  Copy the live rows into it, in their order, and sync it.
    3.  If the old file holds what the new one does not (the original's layout, damaged rows), give it a second name
        beside the first, and sync the directory.
    4.  Put the new file in the place of the old one with one rename, and sync the directory.

So there is a whole store at the path at every instant, and a run that is killed is simply started again.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreError, StoreFullError, StoreModelError, StoreUnavailableError
from embeddings.id_table import WINDOW
from embeddings.layout import (
    Layout,
    ModelStamp,
    create_store,
    draft_path,
    inspect,
    lay_out,
    open_hdf5,
    read_layout,
    storage_errors,
    sync_directory,
)
from embeddings.store_file import StoreFile
from embeddings.writer_lock import writer_lock

_BLOCK_BYTES = 1 << 28  # of embeddings, the most to read at once from the original's chunks
_NAMED = 20  # ids that one line of the log names

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """What became of the rows of a store.

    Attributes:
        rows: logos in the new file.
        duplicates: rows left out because a later row holds the same logo, as the original's files may.
        damaged: rows left out because they cannot be read or disagree with their checksum.
        ignored: rows left out because their id is negative (a deleted logo), or zero with used rows after it.
        not_finite: logos kept although their embedding holds a NaN or an infinity.
        capacity: rows of the new file.
        kept_as: where the old file is now, if it was kept.
    """

    rows: int
    duplicates: int
    damaged: int
    ignored: int
    not_finite: int
    capacity: int
    kept_as: Path | None


def prepare_store(
    path: Path, *, capacity: int, dim: int, stamp: ModelStamp, progress: Callable[[int], None] = lambda rows: None
) -> RewriteReport | None:
    """Make sure that there is a store to open; any number of processes may call it at once.

    Creates an empty one, and its directory, if there is none. Migrates a file in the original's layout, which keeps at
    least its capacity; a store of ours keeps the capacity it has.

    Args:
        path: the store file.
        capacity: rows of a new file.
        dim: the length of an embedding.
        stamp: the model that is going to make embeddings.
        progress: called with the number of rows just copied.

    Returns:
        What was migrated, or None.

    Raises:
        StoreModelError: the store is of another model.
        StoreError: it cannot be made or migrated; the message says why.
    """
    path = path.resolve()
    layout = inspect(path)
    if layout is None or layout.offsets is None:
        _make_directory(path.parent)
        with writer_lock(path):
            layout = inspect(path)
            if layout is None:
                create_store(path, capacity=capacity, dim=dim, stamp=stamp)
                log.info("Created %s for %d logos", path, capacity)
                return None
            _refuse_other_model(path, layout, dim, stamp)
            if layout.offsets is None:
                return _rewrite(path, max(capacity, layout.capacity), progress)
    _refuse_other_model(path, layout, dim, stamp)
    return None


def rewrite_store(
    path: Path, *, capacity: int | None = None, progress: Callable[[int], None] = lambda rows: None
) -> RewriteReport:
    """Migrate, grow or compact a store, which services may be using meanwhile; their writers wait.

    Args:
        path: the store file, in our layout or the original's.
        capacity: rows of the new file; as many as the old one had if not given.
        progress: called with the number of rows just copied.

    Raises:
        StoreError: it cannot be done; the message says why. The store is as it was.
    """
    path = path.resolve()
    if not path.exists():
        raise StoreUnavailableError(f"there is no store at {path}")
    with writer_lock(path):
        return _rewrite(path, capacity, progress)


@dataclass(frozen=True, slots=True)
class _Source:
    """The old file, in either layout: its id slots, and `StoreFile.checked` for runs of about `step` rows."""

    layout: Layout
    ids: NDArray[np.int64]
    checked: Callable[[int, NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.bool_]]]
    step: int


def _rewrite(path: Path, capacity: int | None, progress: Callable[[int], None]) -> RewriteReport:
    draft = draft_path(path)
    with storage_errors(f"rewrite {path}"), _source(path) as source:
        draft.unlink(missing_ok=True)
        rows = _last_of_each(source.ids)
        capacity = source.layout.capacity if capacity is None else capacity
        if capacity < len(rows):
            raise StoreError(f"{path} holds {len(rows)} logos: a capacity of {capacity} rows is too small")
        _refuse_without_room(path, len(rows), source.layout.dim)
        log.info("Copying %d logos of %s into a new file of %d rows", len(rows), path, capacity)
        try:
            lay_out(draft, capacity=capacity, dim=source.layout.dim, stamp=source.layout.stamp)
            _take_owner(path, draft)
            copied, damaged, not_finite = _copy(source, rows, StoreFile(draft, writable=True), progress)
            kept_as = None
            if source.layout.offsets is None:
                kept_as = _keep(path, "original")
            elif damaged:
                kept_as = _keep(path, "damaged")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    used = np.trim_zeros(source.ids, "b")
    report = RewriteReport(
        rows=copied,
        duplicates=int(np.count_nonzero(used > 0)) - len(rows),
        damaged=len(damaged),
        ignored=int(np.count_nonzero(used <= 0)),
        not_finite=len(not_finite),
        capacity=capacity,
        kept_as=kept_as,
    )
    _tell(path, report, damaged, not_finite)
    return report


@contextmanager
def _source(path: Path) -> Iterator[_Source]:
    """Open the old file; while it is open, no other program can open it for writing."""
    with path.open("rb") as file:
        layout = read_layout(file.fileno(), path)
        if layout.offsets is not None:
            store = StoreFile(path, writable=False)
            yield _Source(layout, store.ids(0, layout.capacity), store.checked, WINDOW)
            return
        with open_hdf5(file.fileno()) as hdf5:
            ids, embeddings = hdf5["external_id"], hdf5["embedding"]

            def checked(first: int, slots: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
                return embeddings[first : first + len(slots)], slots != 0

            # A chunk holds a few columns of many rows: it should be read once.
            step = min(embeddings.chunks[0] if embeddings.chunks else WINDOW, _BLOCK_BYTES // (4 * layout.dim))
            yield _Source(layout, ids[:].astype(np.int64), checked, max(1, step))


def _last_of_each(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of the logos, ascending; of several rows with one id, the last."""
    rows = np.flatnonzero(ids > 0)[::-1]
    return np.sort(rows[np.unique(ids[rows], return_index=True)[1]])


def _copy(
    source: _Source, rows: NDArray[np.int64], target: StoreFile, progress: Callable[[int], None]
) -> tuple[int, list[int], list[int]]:
    """Copy rows and sync; return how many were copied, and the ids of damaged and of not finite ones."""
    end = 0
    damaged: list[int] = []
    not_finite: list[int] = []
    for first in range(0, len(source.ids), source.step):
        wanted = rows[slice(*rows.searchsorted([first, first + source.step]))]
        if not len(wanted):
            continue
        slots = source.ids[wanted[0] : wanted[-1] + 1]
        embeddings, good = source.checked(int(wanted[0]), slots)
        places = wanted - wanted[0]
        damaged += slots[places[~good[places]]].tolist()
        places = places[good[places]]
        ids, vectors = slots[places], embeddings[places]
        if len(ids):
            target.write_content(end, ids, vectors)
            target.write_ids(end, ids)
        not_finite += ids[~np.isfinite(vectors).all(axis=1)].tolist()
        end += len(ids)
        progress(len(wanted))
    target.sync()
    return end, damaged, not_finite


def _keep(path: Path, label: str) -> Path:
    """Give the file at `path` a second, durable name beside it: one that is free, or that a killed run gave it."""
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (path.with_name(f"{path.stem}.{label}{number}{path.suffix}") for number in numbers)
    kept = next(name for name in names if _is_linked(path, name))
    sync_directory(path.parent)
    return kept


def _is_linked(path: Path, name: Path) -> bool:
    """Give a file a second name if that is free, and tell whether the name is the file's."""
    with suppress(FileExistsError):
        os.link(path, name)
    return name.exists() and name.samefile(path)


def _refuse_other_model(path: Path, layout: Layout, dim: int, stamp: ModelStamp) -> None:
    if layout.dim != dim:
        raise StoreModelError(f"{path} holds embeddings of {layout.dim} values, the model makes {dim}")
    if layout.stamp not in (stamp, ModelStamp("", "")):
        raise StoreModelError(
            f"{path} was made with the model {layout.stamp.name} ({layout.stamp.digest}), not with {stamp.name} "
            f"({stamp.digest}): their embeddings cannot be compared. Choose that model, or start another store"
        )


def _refuse_without_room(path: Path, rows: int, dim: int) -> None:
    needed, free = rows * (12 + 4 * dim), shutil.disk_usage(path.parent).free
    if needed > free:
        raise StoreFullError(
            f"the new file of {path} needs {needed / 2**30:.1f} GiB beside the old one, and {free / 2**30:.1f} GiB are "
            "free: make room first"
        )


def _take_owner(old: Path, new: Path) -> None:
    """Let whoever may use the old file use the new one, when another user runs the command."""
    status = old.stat()
    with suppress(PermissionError):
        os.chown(new, status.st_uid, status.st_gid)
    new.chmod(status.st_mode & 0o777)


def _make_directory(path: Path) -> None:
    with storage_errors(f"make the directory {path}"):
        new = [directory for directory in (path, *path.parents) if not directory.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for directory in new:
            sync_directory(directory.parent)


def _tell(path: Path, report: RewriteReport, damaged: list[int], not_finite: list[int]) -> None:
    log.info("%s now holds %d logos and has %d rows", path, report.rows, report.capacity)
    if report.kept_as:
        log.info("The old file is kept as %s", report.kept_as)
    if report.duplicates:
        log.warning("Left out %d rows of logos that a later row holds", report.duplicates)
    if damaged:
        log.error("Left out %d damaged rows, of logos %s", len(damaged), _some(damaged))
    if not_finite:
        log.warning("%d logos have embeddings that are not finite: %s", len(not_finite), _some(not_finite))


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
