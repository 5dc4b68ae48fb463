"""The lock of all who write a store: a `flock` on the side file `<path>.lock`, which ends with its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embeddings.layout import storage_errors


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Be the only one, of all processes and threads, who writes the store at `path`; wait for that in a fair queue.

    Raises:
        StoreUnavailableError: the side file cannot be made.
    """
    with storage_errors(f"lock {path}.lock"):
        fd = os.open(f"{path}.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile holds the descriptor, too
        os.close(fd)
