"""A file that one run at a time writes, from its beginning."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_exclusive(path: Path) -> Iterator[BinaryIO | None]:
    """Open a file for writing unless another run is writing it, and drop what a killed run left in it.

    Inside the block the caller may also remove or rename the file.

    Yields:
        The file; None if another run is writing it.

    Raises:
        OSError: it cannot be opened.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb") as file:
        alone = False
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = os.path.samestat(os.fstat(file.fileno()), path.stat())  # else the other run just renamed it
        if alone:
            file.truncate()
        yield file if alone else None
