"""Check the store, the index and the model, at each request and without a scan.

Two questions are kept apart. *Ready*: would the next query succeed? If not, a balancer stops sending requests.
*Healthy*: would an add succeed, too, and is the newest index served? If not, queries still succeed and a restart would
not help, so only the operator is informed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from api.errors import without_folders
from api.journeys.collections import Collection, Collections
from api.journeys.index_state import IndexState, index_state
from embeddings.errors import EmbeddingsError, StoreUnavailableError
from embeddings.model.embedder import Embedder
from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from index.errors import SearchError
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
    """The checks of the service. Threads may share it.

    Readiness is that of the default collection: a broken one must not keep requests from the others.

    Args:
        collections: the default one and the others.
        embedder: makes vectors of images.
    """

    def __init__(self, collections: Collections, embedder: Embedder) -> None:
        self._collections = collections
        self._store = collections.default.store
        self._catalog = collections.default.catalog
        self._embedder = embedder

    def readiness(self) -> list[Check]:
        """Check whether the next query would succeed."""
        return [
            _check("store", self._check_store),
            _check("index", self._check_index),
            _check("model", self._check_model),
        ]

    def all(self) -> list[Check]:
        """Check everything, including adds, the newest index and the other collections."""
        return [
            *self.readiness(),
            _check("adds", self._check_adds),
            _check("newest index", self._check_newest_index),
            *(replace(check, name=f"collection {check.name}") for check in self.of_collections()),
        ]

    def of_collections(self) -> list[Check]:
        """Check each collection with a store of its own: its store, adds and its newest index."""
        others = [found for found in self._collections.each() if found[1] is not self._collections.default]
        return [_check(name, partial(_check_collection, collection)) for name, collection in others]

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
            _check_writes(self._store, seen)
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
        _check_writes(self._store, seen)
        return f"room for {_rows_left(seen)} logos"

    def _check_newest_index(self) -> str:
        error = self._default_status().error
        if error is not None:
            raise UnhealthyError(error)
        return "the newest files answer"

    def _default_status(self) -> IndexStatus:
        return self._catalog.status_of(None)


def _check_collection(collection: Collection | EmbeddingsError) -> str:
    if isinstance(collection, EmbeddingsError):
        raise collection
    seen = collection.store.seen()
    _check_writes(collection.store, seen)
    status = collection.catalog.status_of(None)
    if status.error is not None:
        raise UnhealthyError(status.error)
    indexed = f"{status.items} of {status.source}" if status.source else "none"
    return f"{len(collection.store)} logos, room for {_rows_left(seen)} more; {indexed} indexed"


def _check_writes(store: EmbeddingStore, seen: SeenRows) -> None:
    seen.file.refuse_after_failed_sync()
    if _rows_left(seen) <= 0:
        raise UnhealthyError(f"all {seen.file.capacity} rows are taken: make room with `manage.py grow N`")
    disk = os.statvfs(store.path)
    if disk.f_flag & os.ST_RDONLY or not os.access(store.path, os.W_OK):
        raise UnhealthyError(f"{store.path} cannot be written")
    free = disk.f_bavail * disk.f_frsize
    if free < LEAST_FREE_BYTES:
        raise UnhealthyError(f"the disk has {free} bytes left")


def _rows_left(seen: SeenRows) -> int:
    return seen.file.capacity - seen.end


def _check(name: str, run: Callable[[], str]) -> Check:
    began = time.perf_counter()
    try:
        ok, detail = True, run()
    except (UnhealthyError, EmbeddingsError, SearchError, OSError) as error:
        ok, detail = False, str(error)
    return Check(name, ok, without_folders(detail), time.perf_counter() - began)
