"""Write files so that they survive a power cut: write them under another name, sync, rename.

`embeddings` and `index` both need this, and may not import each other, so it is a module of its own below both. It
receives paths and bytes, and raises the errors of the operating system.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

READABLE = 0o644
"""Permissions of a file that other users may read, whatever the umask or the library that wrote it set."""


@contextmanager
def atomic_write(path: Path, *, mode: int | None = None, alone: bool = False) -> Iterator[BinaryIO]:
    """Open a draft that durably replaces the file at `path` when the block ends without an error.

    Args:
        path: the file to write or replace.
        mode: the permissions of the file; by default the umask decides.
        alone: the caller holds a lock or is the only writer. The draft then has a fixed name, so the next write
            overwrites what a killed one left. Otherwise it has a unique name, and any number may write at once.

    Yields:
        The draft, open for writing: a hidden file beside `path`.

    Raises:
        OSError: the file cannot be written, synced or renamed. A file that was at `path` is unchanged.
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
    """Make the content of a file durable; if `mode` is given, set its permissions first."""
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
