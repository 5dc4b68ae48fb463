"""A file that one run writes alone, from its beginning."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def begun_anew(path: Path) -> Iterator[BinaryIO | None]:
    """Open a file that no other run is writing; what a killed one left of it goes.

    Whoever is done with it may remove it or give it another name before letting go of it.

    Yields:
        The file; None if another run is writing it.

    Raises:
        OSError: it cannot be opened.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb") as file:
        alone = False
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = os.path.samestat(os.fstat(file.fileno()), path.stat())  # else the other just gave it its name
        if alone:
            file.truncate()
        yield file if alone else None
