"""Compare a file with what `index.json` says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from index.errors import IndexDamagedError
from index.files.manifest import JSON_NAME, FileRecord

_READ_BYTES = 2**22


def record_of(path: Path) -> FileRecord:
    """Return the size and the digest of a file."""
    with FileIO(path) as file:
        return FileRecord(path.stat().st_size, digest_of(file))


def digest_of(file: FileIO, progress: Callable[[int], None] = lambda _bytes: None) -> str:
    """Return the SHA-256 of the unread rest of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while content := file.read(_READ_BYTES):
        digest.update(content)
        progress(len(content))
    return digest.hexdigest()


def read_through(file: FileIO, progress: Callable[[int], None]) -> None:
    """Read a file to its end: a bad block is an error here, but kills a process that has it mapped."""
    while content := file.read(_READ_BYTES):
        progress(len(content))


def check_count(path: Path, what: str, found: int, expected: int) -> None:
    """Raise `IndexDamagedError` if a file has another number of something than `index.json` says."""
    if found != expected:
        raise IndexDamagedError(f"{path}: it has {found} {what}, {JSON_NAME} says {expected}")


def check_digest(path: Path, found: str, record: FileRecord) -> None:
    """Raise `IndexDamagedError` if a file has another digest than `index.json` says."""
    if found != record.sha256:
        raise IndexDamagedError(f"{path}: its SHA-256 is {found}, {JSON_NAME} says {record.sha256}")
