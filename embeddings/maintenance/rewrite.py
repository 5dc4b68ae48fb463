"""Prepare a store at start, and rewrite a store into a new file (by `migration.py` or `compaction.py`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from durable import make_directory
from embeddings.errors import StoreLayoutError, StoreModelError, StoreUnavailableError, storage_errors
from embeddings.maintenance.rewrite_report import RewriteReport
from embeddings.store.layout import Layout, ModelStamp, keep_writers_out, read_header
from embeddings.store.store_path import create_store, inspect
from embeddings.store.writer_lock import writer_lock

__all__ = ["RewriteReport", "prepare_store", "rewrite_store"]

logger = logging.getLogger(__name__)


def prepare_store(
    path: Path, *, capacity: int, dim: int, stamp: ModelStamp, progress: Callable[[int], None] = lambda rows: None
) -> RewriteReport | None:
    """Make sure that there is a store to open. Several processes may call this at once.

    If there is no file, an empty store and its directory are created. A file in the original's layout is migrated, and
    keeps at least its capacity. A store of ours is left as it is.

    Args:
        path: the store file.
        capacity: rows of a new file.
        dim: the length of an embedding.
        stamp: the model that will make embeddings.
        progress: called with the number of rows just copied.

    Returns:
        A report of the migration, or None.

    Raises:
        StoreModelError: the store is of another model.
        StoreError: it cannot be created or migrated; the message says why.
    """
    path = path.resolve()
    layout = inspect(path)
    if layout is None or layout.offsets is None:
        with storage_errors(f"make the directory {path.parent}"):
            make_directory(path.parent)
        with writer_lock(path):
            layout = inspect(path)
            if layout is None:
                create_store(path, capacity=capacity, dim=dim, stamp=stamp)
                logger.info("Created %s for %d logos", path, capacity)
                return None
            _refuse_other_model(path, layout, dim, stamp)
            if layout.offsets is None:
                from embeddings.maintenance.migration import migrate  # imports h5py, which most starts do not need

                return migrate(path, layout, max(capacity, layout.capacity), progress)
    _refuse_other_model(path, layout, dim, stamp)
    return None


def rewrite_store(
    path: Path, *, capacity: int | None = None, progress: Callable[[int], None] = lambda rows: None
) -> RewriteReport:
    """Migrate, grow or compact a store; services may be using it meanwhile.

    Writers wait for a moment at its end; during a migration they wait all the time.

    Args:
        path: the store file, in our layout or the original's. One of ours whose rows alone are sound is migrated like
            one of the original.
        capacity: rows of the new file; None keeps the old capacity.
        progress: called with the number of rows just copied.

    Raises:
        StoreError: it failed; the message says why. The store is unchanged.
    """
    path = path.resolve()
    if not path.exists():
        raise StoreUnavailableError(f"there is no store at {path}")
    from embeddings.maintenance.compaction import compact  # as above
    from embeddings.maintenance.migration import migrate

    with writer_lock(path):
        layout = _layout_without_header(path)
        if layout is not None:
            return migrate(path, layout, capacity, progress)
    return compact(path, capacity, progress)


def _layout_without_header(path: Path) -> Layout | None:
    """Return HDF5's description of a file that has no sound header; None if it has one."""
    with storage_errors(f"open {path}"), path.open("rb") as file:
        try:
            read_header(file.fileno(), path)
        except StoreLayoutError:
            from embeddings.store.hdf5_probe import describe  # as above

            keep_writers_out(file.fileno(), path)
            return describe(file.fileno(), path)
    return None


def _refuse_other_model(path: Path, layout: Layout, dim: int, stamp: ModelStamp) -> None:
    if layout.dim != dim:
        raise StoreModelError(f"{path} holds embeddings of {layout.dim} values, but the model makes {dim}")
    if layout.stamp not in (stamp, ModelStamp("", "")):
        raise StoreModelError(
            f"{path} was made with the model {layout.stamp.name} ({layout.stamp.digest}), not with {stamp.name} "
            f"({stamp.digest}): their embeddings cannot be compared. Configure that model, or embed the logos again"
            " with `manage.py re-embed`: see docs/upgrading.md"
        )
