"""How many requests may be changing the store, or embedding, at once, so that the others find a thread.

An add waits for its image, and both adds and deletions for whoever holds the writer's lock, which may take minutes; a
query by image waits for its turn to be decoded. In any number they would soon have every thread, and no other query
would be answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.errors import TooManyWritesError


class WriteLimit:
    """Shared by all that add, delete, or ask by image; it never waits.

    Args:
        concurrency: of these may be under way at once; more are refused.
        on_refusal: is told of each that is.
    """

    def __init__(self, concurrency: int, *, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._concurrency = concurrency
        self._on_refusal = on_refusal
        self._under_way = threading.BoundedSemaphore(concurrency)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Count as one of them for as long as the `with` block runs.

        Raises:
            TooManyWritesError: as many as allowed are under way; to be tried again.
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
