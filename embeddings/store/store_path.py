"""Inspect the file at the path of a store, or create an empty store there.

Both import HDF5 only when they need it: the import takes longer than most starts of the service, which find a header.
"""

from __future__ import annotations

import os
from pathlib import Path

from durable import sync_directory
from embeddings.errors import StoreLayoutError, storage_errors
from embeddings.store.layout import Layout, ModelStamp, has_header, keep_writers_out, read_header


def create_store(path: Path, *, capacity: int, dim: int, stamp: ModelStamp) -> None:
    """Create an empty store. At every instant, and after a crash, there is either no file at `path` or a whole one.

    The caller holds the writer's lock.

    Raises:
        StoreFullError: the file system has no room, or allows no file of this size.
        StoreUnavailableError: it cannot be written here, or there is already a file at `path`.
    """
    from embeddings.store.hdf5_file import lay_out

    draft = draft_path(path)
    with storage_errors(f"create {path}"):
        try:
            lay_out(draft, capacity=capacity, dim=dim, stamp=stamp)
            os.link(draft, path)  # unlike a rename, this never replaces a file
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)


def draft_path(path: Path) -> Path:
    """Return where a new store is written before it is renamed. Without the lock held, a file there is left over."""
    return path.with_name(f"{path.name}.tmp")


def inspect(path: Path) -> Layout | None:
    """Return the layout of a store file, ours or the original's; None if there is no file.

    Raises:
        StoreLayoutError: the file is neither.
        StoreUnavailableError: it may not be opened, or another program has it open for writing.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise StoreLayoutError(f"{path} is not a regular file: move it away")
    with storage_errors(f"open {path}"), path.open("rb") as file:
        keep_writers_out(file.fileno(), path)
        if has_header(file.fileno()):
            return read_header(file.fileno(), path)
        from embeddings.store.hdf5_probe import describe

        return describe(file.fileno(), path)
