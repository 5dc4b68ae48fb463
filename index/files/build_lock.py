"""Allow one build of an index at a time, across processes.

The kernel holds the lock (flock) and releases it when the process ends, however that happens.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index.errors import BuildInProgressError

logger = logging.getLogger(__name__)


@contextmanager
def build_lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock on a file, which is created if missing and not removed afterwards.

    Raises:
        BuildInProgressError: another build holds it, and `wait` is false.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise BuildInProgressError(f"another build holds {path}; try again when it is done") from None
            logger.info("another build holds %s: waiting until it is done", path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
