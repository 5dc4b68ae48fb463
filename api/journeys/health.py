"""Check the store, the index and the model, at each request and without a scan.

Two questions are kept apart. *Ready*: would the next query succeed? If not, a balancer stops sending requests.
*Healthy*: would an add succeed, too, and is the newest index served? If not, queries still succeed and a restart would
not help, so only the operator is informed.
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

LEAST_FREE_BYTES = 2**24  # adds count as failing if the disk has less space
_TRIES = 10  # if the store is replaced while it is checked


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        ok: whether it passed.
        detail: what the check found; it holds no paths, so clients may read it.
        seconds: how long the check took.
    """

    name: str
    ok: bool
    detail: str
    seconds: float


class UnhealthyError(Exception):
    """A check failed; the message says why."""


class Health:
    """The checks of the service. Threads may share it."""

    def __init__(self, store: EmbeddingStore, catalog: Catalog, embedder: Embedder, *, default_index: str) -> None:
        self._store = store
        self._catalog = catalog
        self._embedder = embedder
        self._default_index = default_index

    def readiness(self) -> list[Check]:
        """Check whether the next query would succeed."""
        return [
            _check("store", self._check_store),
            _check("index", self._check_index),
            _check("model", self._check_model),
        ]

    def all(self) -> list[Check]:
        """Check everything, including adds and the newest index."""
        return [*self.readiness(), _check("adds", self._check_adds), _check("newest index", self._check_newest_index)]

    def index_state(self) -> IndexState:
        """Return the state of the default index."""
        return index_state(self._catalog, None)

    def _check_store(self) -> str:
        seen = self._store.seen()
        for _ in range(_TRIES):
            if self._is_in_place(seen):
                break
            seen = self._store.seen()  # the file was replaced in between; the store now reads the new one
        else:
            raise UnhealthyError(f"{self._store.path} is not the file that is being read")
        try:
            self._check_writes(seen)
        except (UnhealthyError, StoreUnavailableError) as error:
            return f"{len(self._store)} logos; adds fail: {error}"
        return f"{len(self._store)} logos, room for {_rows_left(seen)} more"

    def _is_in_place(self, seen: SeenRows) -> bool:
        try:
            return os.path.samestat(self._store.path.stat(), seen.file.status)
        except OSError as error:
            raise UnhealthyError(f"{self._store.path} cannot be found: {error.strerror}") from error

    def _check_index(self) -> str:
        index = self._catalog.get(None)
        status = self._default_status()
        if status.error is not None:
            return f"{len(index)} logos of {status.source} answer, though {status.error}"
        if not status.source:
            return "empty: none has been built yet"
        return f"{len(index)} logos of {status.source}"

    def _check_model(self) -> str:
        self._embedder.check()
        description = self._embedder.description
        state = "in memory" if self._embedder.loaded else "read at the first add"
        return f"{description.name}, {description.weights} weights, {state}"

    def _check_adds(self) -> str:
        seen = self._store.seen()
        self._check_writes(seen)
        return f"room for {_rows_left(seen)} logos"

    def _check_writes(self, seen: SeenRows) -> None:
        seen.file.refuse_after_failed_sync()
        if _rows_left(seen) <= 0:
            raise UnhealthyError(f"all {seen.file.capacity} rows are taken: make room with `manage.py grow N`")
        disk = os.statvfs(self._store.path)
        if disk.f_flag & os.ST_RDONLY or not os.access(self._store.path, os.W_OK):
            raise UnhealthyError(f"{self._store.path} cannot be written")
        free = disk.f_bavail * disk.f_frsize
        if free < LEAST_FREE_BYTES:
            raise UnhealthyError(f"the disk has {free} bytes left")

    def _check_newest_index(self) -> str:
        error = self._default_status().error
        if error is not None:
            raise UnhealthyError(error)
        return "the newest files answer"

    def _default_status(self) -> IndexStatus:
        return next(status for status in self._catalog.status() if status.name == self._default_index)


def _rows_left(seen: SeenRows) -> int:
    return seen.file.capacity - seen.end


def _check(name: str, run: Callable[[], str]) -> Check:
    began = time.perf_counter()
    try:
        ok, detail = True, run()
    except (UnhealthyError, EmbeddingsError, SearchError, OSError) as error:
        ok, detail = False, str(error)
    return Check(name, ok, without_folders(detail), time.perf_counter() - began)
