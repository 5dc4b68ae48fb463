"""Limit the adds, deletions and queries by image that run at once, so that threads remain for other queries.

An add waits for its image. Adds and deletions wait for the writer lock, which another process may hold for minutes. A
query by image waits until it may be decoded. Without a limit they would soon occupy every thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.errors import TooManyWritesError


class WriteLimit:
    """Refuses requests over the limit at once, without waiting. Threads share it.

    Args:
        concurrency: how many requests may run at once.
        on_refusal: called for each request that is refused.
    """

    def __init__(self, concurrency: int, *, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._concurrency = concurrency
        self._on_refusal = on_refusal
        self._under_way = threading.BoundedSemaphore(concurrency)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Count one request for the length of the `with` block.

        Raises:
            TooManyWritesError: as many requests as allowed are running; try again.
        """
        if not self._under_way.acquire(blocking=False):
            self._on_refusal()
            raise TooManyWritesError(
                f"{self._concurrency} adds, deletions and queries by image are under way in this process; try again in"
                " a moment."
            )
        try:
            yield
        finally:
            self._under_way.release()
