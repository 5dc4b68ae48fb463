"""The collections that a service searches: each alias `logos_*`, and the collection that it points at.

A thread checks them every few seconds, and also acts as a fuse: after a check or a connection got no response, every
query fails at once, so that no more threads wait for an engine that is gone, until a check succeeds. A query that takes
too long, as a large batch may, only triggers another check.

A collection is served if its build was completed, its vectors are like the store's, and it is in memory. While the
engine is still loading it, for example after a restart, it is not served.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index.errors import (
    EngineError,
    EngineTimeoutError,
    EngineUnreachableError,
    IndexDamagedError,
    IndexUnavailableError,
    UnknownIndexError,
)
from index.exact import ExactIndex
from index.milvus import collections
from index.milvus.client import Milvus
from index.milvus.collections import Collection
from index.milvus.engine import DEFAULT_EFFORT, MilvusSearchIndex
from index.protocol import SearchIndex, Vectors
from index.status import IndexStatus, OnLoad

logger = logging.getLogger(__name__)

MAPS = "milvus"
"""A directory in the index's directory, with a directory for the map and the distances of each collection."""

LEAST_HELD = 0.5
"""The share of its logos that a collection must still hold, counting deleted ones: with less, it has lost some."""

_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Served:
    """What is served for an index, if anything, and its status."""

    status: IndexStatus
    index: SearchIndex | None = None


class MilvusCatalog:
    """The indexes in a Milvus; see `index.protocol.Catalog`.

    Args:
        milvus: the connection.
        data_dir: the directory of the indexes' maps.
        dim: the number of values in a vector.
        default: the index that `get(None)` returns; it counts as empty until it is built.
        vectors: returns the vectors of logos that are stored here.
        weights_digest: of the model that made the store's vectors; empty if unknown.
        search_k: the search effort, overriding the one measured when the index was built.
        reload_seconds: time between two checks.
        stored_logo: see `MilvusSearchIndex`.
        deleted: returns how many logos were ever deleted, as far as is known here.
        replicas: number of query nodes for a collection that has to be loaded.
        was_served: returns whether the default index was ever built, as far as is known here.
        on_load: see `index.status.OnLoad`.
    """

    def __init__(
        self,
        milvus: Milvus,
        data_dir: Path,
        *,
        dim: int,
        default: str,
        vectors: Vectors,
        weights_digest: str = "",
        search_k: int | None = None,
        reload_seconds: float = 5.0,
        stored_logo: Callable[[], int | None] = lambda: None,
        deleted: Callable[[], int] = lambda: 0,
        replicas: int = 1,
        was_served: Callable[[], bool] = lambda: False,
        on_load: OnLoad = lambda name, taken_in: None,
    ) -> None:
        self._milvus = milvus
        self._data_dir = data_dir
        self._dim = dim
        self._default = default
        self._vectors = vectors
        self._weights_digest = weights_digest
        self._search_k = search_k
        self._reload_seconds = reload_seconds
        self._stored_logo = stored_logo
        self._deleted = deleted
        self._replicas = replicas
        self._was_served = was_served
        self._on_load = on_load
        self._empty = ExactIndex([], np.empty((0, dim), np.float32))
        self._served: dict[str, Served] = {default: Served(IndexStatus(default))}
        self._down: str | None = None
        self._looking = threading.Lock()
        self._giving_up = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._watcher = threading.Thread(target=self._watch, name="milvus-watcher", daemon=True)
        milvus.on_silence = self._blow
        self.refresh()

    def get(self, name: str | None) -> SearchIndex:
        """Return an index by its name; `None` means the default one.

        Raises:
            UnknownIndexError: no index has this name.
            IndexUnavailableError: it exists, but cannot be served for now, or the engine does not answer.
        """
        if self._down is not None:
            raise EngineUnreachableError(self._down)
        served = self._served.get(self._default if name is None else name)
        if served is None:
            raise UnknownIndexError(str(name))
        if served.index is None:
            raise IndexUnavailableError(f"the index {served.status.name} cannot be served: {served.status.error}")
        return served.index

    def names(self) -> list[str]:
        """Return the names that `get` accepts, in alphabetical order."""
        return sorted(name for name, served in self._served.items() if served.index is not None)

    def status(self) -> list[IndexStatus]:
        """Return the status of each index, including those that cannot be served, in alphabetical order."""
        return [self._status(served) for _, served in sorted(self._served.items())]

    def status_of(self, name: str | None) -> IndexStatus:
        """Return the status of an index; `None` means the default one.

        Raises:
            UnknownIndexError: no index has this name.
        """
        served = self._served.get(self._default if name is None else name)
        if served is None:
            raise UnknownIndexError(str(name))
        return self._status(served)

    def refresh(self) -> None:
        """Check every alias once, and load what changed."""
        with self._looking:
            try:
                served = self._look()
            except EngineError as error:
                self._give_up(error, news=not isinstance(error, EngineUnreachableError))
                return
            self._served = served
            if self._down is not None:
                self._down = None
                logger.info("Milvus at %s answers", self._milvus.connection.uri)

    def start(self) -> None:
        """Call `refresh` every `reload_seconds` from now on, in a separate thread."""
        self._watcher.start()

    def close(self) -> None:
        """Stop the thread, and close the connection."""
        self._closing = True
        self._wake.set()
        if self._watcher.is_alive():
            self._watcher.join(timeout=_CLOSE_SECONDS)
        self._milvus.close()

    def _watch(self) -> None:
        while not self._closing:
            self._wake.wait(self._reload_seconds)
            self._wake.clear()
            if self._closing:
                return
            try:
                self.refresh()
            except Exception:
                logger.exception("checking Milvus failed; the next check is in %g s", self._reload_seconds)

    def _blow(self, error: EngineUnreachableError) -> None:
        """Check the engine at once, and let queries fail meanwhile, unless it may only be slow."""
        if self._down is None:
            if not isinstance(error, EngineTimeoutError):
                self._give_up(error, news=False)
            self._wake.set()  # only here: a failing check must not trigger the next one without a pause

    def _give_up(self, error: EngineError, *, news: bool) -> None:
        """Refuse all queries for now. Log the reason once, and again only if a different reason is news."""
        with self._giving_up:
            before, self._down = self._down, str(error)
        if before is None or (news and before != str(error)):
            logger.error("%s", error)

    def _status(self, served: Served) -> IndexStatus:
        return served.status if self._down is None else replace(served.status, error=self._down)

    def _look(self) -> dict[str, Served]:
        found: dict[str, Served] = {}
        ours, before = collections.alias_of(self._default), self._served[self._default].status
        for alias in sorted({ours, *collections.aliases(self._milvus)}):
            name = collections.aliased(self._milvus, alias)
            if name is not None:
                served = self._look_at(name, self._default if alias == ours else alias.removeprefix(collections.PREFIX))
                found[served.status.name] = served
                if alias == ours and served.status.name != self._default:
                    error = f"the alias {alias} belongs to the index {served.status.name}: choose another name"
                    found[self._default] = self._refused(self._default, error)
            elif alias == ours and (self._was_served() or before.source or before.error):
                error = f"the alias {alias} is gone from Milvus: `generate-index` builds the index again from the store"
                found[self._default] = self._refused(self._default, error)
        if self._default not in found:
            found[self._default] = Served(IndexStatus(self._default), self._empty)
        return found

    def _refused(self, index_name: str, error: str) -> Served:
        """Return that an index cannot be served, and log it if that is news."""
        before = self._served.get(index_name)
        if before is None or before.status.error != error:
            logger.error("index %s: %s", index_name, error)
            self._on_load(index_name, False)
        return Served(IndexStatus(index_name, error=error))

    def _look_at(self, name: str, index_name: str) -> Served:
        """Check a collection. Its index is named as in the record, if that can be read."""
        known = next((served for served in self._served.values() if _name_of(served) == name), None)
        try:
            if known is not None and isinstance(known.index, MilvusSearchIndex):
                index_name = known.status.name
                return self._checked(known.index, known)
            collection = self._described(name)
            index_name = collection.record.index
            return self._checked(self._index(collection), None)
        except EngineUnreachableError:
            raise
        except (IndexDamagedError, IndexUnavailableError) as error:
            return self._refused(index_name, str(error))

    def _described(self, name: str) -> Collection:
        collection = collections.describe(self._milvus, name)
        if collection is None:
            raise IndexDamagedError(f"the collection {name} is gone")
        return collection

    def _index(self, collection: Collection) -> MilvusSearchIndex:
        record = collection.record
        if not record.items:
            raise IndexDamagedError(f"the collection {collection.name} is half filled: its build was not completed")
        if collection.dim != self._dim:
            raise IndexDamagedError(
                f"the collection {collection.name} holds vectors of {collection.dim} values, the store of {self._dim}"
            )
        if record.weights_digest and self._weights_digest and record.weights_digest != self._weights_digest:
            raise IndexDamagedError(
                f"the collection {collection.name} holds vectors of other weights than the store:"
                " `generate-index` builds another"
            )
        effort = self._search_k or (record.recall.search_k if record.recall else DEFAULT_EFFORT)
        return MilvusSearchIndex(self._milvus, collection, self._vectors, effort, stored_logo=self._stored_logo)

    def _checked(self, index: MilvusSearchIndex, known: Served | None) -> Served:
        """Check that a collection is in memory, and still holds its logos."""
        name, record = index.collection.name, index.collection.record
        seconds = self._milvus.connection.connect_seconds
        state = self._milvus.call("get_load_state", name, seconds=seconds)
        if state["state"].name == "NotLoad":
            self._milvus.call("load_collection", name, seconds=seconds, replica_number=self._replicas, _async=True)
            state = self._milvus.call("get_load_state", name, seconds=seconds)
        if state["state"].name != "Loaded":
            raise IndexUnavailableError(f"Milvus is loading the collection {name} into memory")
        index.items = collections.count(self._milvus, name, seconds=self._milvus.connection.query_seconds)
        if index.items + self._deleted() < LEAST_HELD * record.items:
            raise IndexDamagedError(
                f"the collection {name} holds {index.items} logos, but was built with {record.items}:"
                " `generate-index` builds another"
            )
        if known is not None:
            return Served(replace(known.status, items=index.items), index)
        logger.info("index %s: %d logos from the collection %s of Milvus", record.index, index.items, name)
        self._on_load(record.index, True)
        status = IndexStatus(
            record.index,
            source=index.collection.stamp,
            items=index.items,
            recall=record.recall,
            built_at=index.built_at,
            directory=self._data_dir / record.index / MAPS / index.collection.stamp,
        )
        return Served(status, index)


def _name_of(served: Served) -> str | None:
    return served.index.collection.name if isinstance(served.index, MilvusSearchIndex) else None
