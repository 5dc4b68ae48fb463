"""Open files that must be regular files: reading a named pipe, for example, could block for ever."""

from __future__ import annotations

import os
import stat
from io import FileIO
from pathlib import Path


def open_regular(path: Path) -> FileIO:
    """Open a regular file for reading, unbuffered.

    Raises:
        OSError: it is not a regular file, or cannot be opened.
    """
    file = FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not a regular file")
    return file


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; errors are those of `open_regular`."""
    with open_regular(path) as file:
        return file.readall()
