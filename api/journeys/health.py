"""Is the service well? Store, index and model, each with its reason, found out anew each time and without a scan.

Two questions are kept apart. *Ready*: would the first query be answered, from files that are there? A balancer takes a
service that is not out of its turn. *Well*: would an add be stored, too, and does the newest index answer? Queries go
on without, and a restart mends neither, so only whoever looks after the service is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.errors import without_folders
from api.journeys.index_state import IndexState, index_state
from embeddings.errors import EmbeddingsError, StoreUnavailableError
from embeddings.model.embedder import Embedder
from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from index.errors import SearchError
from index.protocol import Catalog
from index.status import IndexStatus

LEAST_FREE_BYTES = 2**24  # of a disk that adds are still stored on
_LOOKS = 10  # at a store that is replaced again and again


@dataclass(frozen=True, slots=True)
class Check:
    """What was found out.

    Attributes:
        name: what was looked at.
        ok: whether it is as it should be.
        detail: how it is; fit for clients to read.
        seconds: that finding out took.
    """

    name: str
    ok: bool
    detail: str
    seconds: float


class UnwellError(Exception):
    """What was looked at is not as it should be; the message says how it is."""


class Health:
    """Finds out how a service is. Threads may share it."""

    def __init__(self, store: EmbeddingStore, catalog: Catalog, embedder: Embedder, *, default_index: str) -> None:
        self._store = store
        self._catalog = catalog
        self._embedder = embedder
        self._default_index = default_index

    def readiness(self) -> list[Check]:
        """Find out whether the first query would be answered."""
        return [_check("store", self._see_store), _check("index", self._see_index), _check("model", self._see_model)]

    def wellness(self) -> list[Check]:
        """Find out what an operator wants to know besides."""
        return [*self.readiness(), _check("adds", self._see_adds), _check("newest index", self._see_newest_index)]

    def index_state(self) -> IndexState:
        """Return the state of the default index."""
        return index_state(self._catalog, None)

    def _see_store(self) -> str:
        seen = self._store.seen()
        for _ in range(_LOOKS):
            if self._is_in_place(seen):
                break
            seen = self._store.seen()  # it was replaced in between, and is read from now on
        else:
            raise UnwellError(f"{self._store.path} is another file than the one that is read")
        try:
            self._try_adds(seen)
        except (UnwellError, StoreUnavailableError) as error:
            return f"{len(self._store)} logos; adds fail: {error}"
        return f"{len(self._store)} logos, room for {_rows_left(seen)} more"

    def _is_in_place(self, seen: SeenRows) -> bool:
        try:
            return os.path.samestat(self._store.path.stat(), seen.file.status)
        except OSError as error:
            raise UnwellError(f"{self._store.path} cannot be found: {error.strerror}") from error

    def _see_index(self) -> str:
        index = self._catalog.get(None)
        status = self._default_status()
        if status.error is not None:
            return f"{len(index)} logos of {status.source} answer, though {status.error}"
        if not status.source:
            return "empty: none has been built yet"
        return f"{len(index)} logos of {status.source}"

    def _see_model(self) -> str:
        self._embedder.check()
        description = self._embedder.description
        state = "in memory" if self._embedder.loaded else "read at the first add"
        return f"{description.name}, {description.weights} weights, {state}"

    def _see_adds(self) -> str:
        seen = self._store.seen()
        self._try_adds(seen)
        return f"room for {_rows_left(seen)} logos"

    def _try_adds(self, seen: SeenRows) -> None:
        seen.file.refuse_after_failed_sync()
        if _rows_left(seen) <= 0:
            raise UnwellError(f"all {seen.file.capacity} rows are taken: make room with `manage.py grow N`")
        disk = os.statvfs(self._store.path)
        if disk.f_flag & os.ST_RDONLY or not os.access(self._store.path, os.W_OK):
            raise UnwellError(f"{self._store.path} cannot be written")
        free = disk.f_bavail * disk.f_frsize
        if free < LEAST_FREE_BYTES:
            raise UnwellError(f"the disk has {free} bytes left")

    def _see_newest_index(self) -> str:
        error = self._default_status().error
        if error is not None:
            raise UnwellError(error)
        return "the newest files answer"

    def _default_status(self) -> IndexStatus:
        return next(status for status in self._catalog.status() if status.name == self._default_index)


def _rows_left(seen: SeenRows) -> int:
    return seen.file.capacity - seen.end


def _check(name: str, look: Callable[[], str]) -> Check:
    began = time.perf_counter()
    try:
        ok, detail = True, look()
    except (UnwellError, EmbeddingsError, SearchError, OSError) as error:
        ok, detail = False, str(error)
    return Check(name, ok, without_folders(detail), time.perf_counter() - began)
