"""Steps shared by all replacements of a store file: check for room, copy the owner, keep the old file."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import suppress
from pathlib import Path

from durable import sync_directory
from embeddings.errors import StoreFullError
from embeddings.store.layout import CRC_BYTES, ID_BYTES
from embeddings.store.provenance import RECORD_BYTES


def refuse_without_room(path: Path, rows: int, dim: int) -> None:
    """Raise StoreFullError unless the disk has room at `path` for a file of this many rows."""
    needed, free = rows * (ID_BYTES + CRC_BYTES + 4 * dim + RECORD_BYTES), shutil.disk_usage(path.parent).free
    if needed > free:
        raise StoreFullError(
            f"{path} needs {needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free there: make room first"
        )


def take_owner(old: Path, new: Path) -> None:
    """Give the new file the owner and permissions of the old one, because another user may run the command."""
    status = old.stat()
    with suppress(PermissionError):
        os.chown(new, status.st_uid, status.st_gid)
    new.chmod(status.st_mode & 0o777)


def keep(file: Path, path: Path, label: str) -> Path:
    """Give a file a durable second name beside the store at `path`, and return that name.

    It is the first of `store.label.hdf5`, `store.label-2.hdf5`, ... that is free, or that a killed run already gave to
    this file.
    """
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (path.with_name(f"{path.stem}.{label}{number}{path.suffix}") for number in numbers)
    kept = next(name for name in names if _is_linked(file, name))
    sync_directory(path.parent)
    return kept


def _is_linked(file: Path, name: Path) -> bool:
    """Link a file to a name if the name is free, and return whether the name is now the file's."""
    with suppress(FileExistsError):
        os.link(file, name)
    return name.exists() and name.samefile(file)
