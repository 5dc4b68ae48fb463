"""Files that are on the disk when a function returns: not only in the memory of the kernel."""

from __future__ import annotations

import os
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Write a file, readable by everyone, and sync it."""
    path.write_bytes(content)
    sync_file(path)


def sync_file(path: Path) -> None:
    """Make a file readable by everyone (Annoy's on-disk build makes 0600) and sync it."""
    path.chmod(0o644)
    _sync(path)


def sync_directory(path: Path) -> None:
    """Sync the names in a directory: what was made, renamed or removed there."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
