"""The lock of all who write a store: a `flock` on the side file `<path>.lock`, which ends with its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embeddings.errors import StoreUnavailableError, storage_errors


@contextmanager
def writer_lock(path: Path) -> Iterator[Callable[[], None]]:
    """Be the only one, of all processes and threads, who writes the store at `path`; wait for that in a fair queue.

    Yields:
        A check to make before each step that cannot be taken back. It raises StoreUnavailableError if the side file was
        removed: whoever came later locked another one.

    Raises:
        StoreUnavailableError: the side file cannot be made or locked.
    """
    side = Path(f"{path}.lock")

    def check() -> None:
        if not _is_at(fd, side):
            raise StoreUnavailableError(f"{side} was removed while it was locked: leave it where it is")

    while True:
        with storage_errors(f"lock {side}"):
            fd = os.open(side, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with storage_errors(f"lock {side}"):
                fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, side):  # else it was removed while this one waited, and the others wait for a new one
                yield check
                return
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile holds the descriptor, too
            os.close(fd)


def is_free(path: Path) -> bool:
    """Tell whether nobody holds the writer's lock of the store at `path`.

    False also where that cannot be told: before there is a side file, which only writers make.
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
