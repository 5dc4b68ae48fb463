"""The lock for all who write a store: a `flock` on the side file `<path>.lock`, released when its holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embeddings.errors import StoreUnavailableError, storage_errors


@contextmanager
def writer_lock(path: Path) -> Iterator[Callable[[], None]]:
    """Hold the lock of the store at `path`, which one thread of one process holds at a time; wait in a fair queue.

    Yields:
        A check to call before each step that cannot be undone. It raises StoreUnavailableError if the side file was
        removed, because later writers lock another one.

    Raises:
        StoreUnavailableError: the side file cannot be created or locked.
    """
    side = Path(f"{path}.lock")

    def check() -> None:
        if not _is_at(fd, side):
            raise StoreUnavailableError(f"{side} was removed while it was locked: do not remove it")

    while True:
        with storage_errors(f"lock {side}"):
            fd = os.open(side, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with storage_errors(f"lock {side}"):
                fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, side):  # else it was removed while this call waited, and the others wait for a new one
                yield check
                return
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile also holds the descriptor
            os.close(fd)


def is_free(path: Path) -> bool:
    """Return whether nobody holds the writer's lock of the store at `path`.

    Also False if this is unknown, because there is no side file yet: only writers create it.
    """
    side = Path(f"{path}.lock")
    try:
        fd = os.open(side, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return _is_at(fd, side)
    except OSError:
        return False
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # as above
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False
