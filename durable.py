"""Files and names that survive a power cut: written, synced, then published under their names.

`embeddings` and `index` both need this and may not import each other. It is a module of its own, below both, because
it knows nothing of either: paths and bytes go in, and the operating system's errors come out.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

READABLE = 0o644
"""Permissions of a file that other users may read, whatever the umask and the library that wrote it say."""


@contextmanager
def atomic_write(path: Path, *, mode: int | None = None, alone: bool = False) -> Iterator[BinaryIO]:
    """Open a draft that replaces the file at `path`, whole and durable, when the block ends; never after an error.

    Args:
        path: the file to write or replace.
        mode: the permissions of the file; by default the umask decides.
        alone: the caller holds a lock or is the only writer. The draft then has a fixed name, so the next write
            overwrites what a killed one left. Otherwise it has a unique name, and any number may write at once.

    Yields:
        The draft, open for writing; its name is hidden and lies beside `path`.

    Raises:
        OSError: the file cannot be written, synced or renamed. A file that was at `path` is still there.
    """
    draft = path.with_name(f".{path.name}" if alone else f".{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_file(path: Path, *, mode: int | None = None) -> None:
    """Make the content of a file durable, and first its permissions, if `mode` is given."""
    if mode is not None:
        path.chmod(mode)
    _sync(path)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, durably."""
    new = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for directory in new:
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: files that were created, renamed or removed there."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
