"""The collections of a service: the default one, and those with a store of their own.

A collection is opened when a request first names it, so one that is created while the service runs needs no restart.
One that is dropped is noticed by the next request for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from collections.abc import Collection as Names
from dataclasses import dataclass

from api.journeys.attribute_setter import AttributeSetter
from api.journeys.backlog import Backlog
from api.journeys.logo_adder import LogoAdder
from api.journeys.logo_attributes import LogoAttributes
from api.journeys.logo_embedder import LogoEmbedder
from api.journeys.logo_remover import LogoRemover
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.vector_adder import VectorAdder
from embeddings.collection.definition import CollectionDefinition, Metric
from embeddings.collection.directory import CollectionDirectory
from embeddings.errors import EmbeddingsError, NoEmbedderError
from embeddings.store.store import EmbeddingStore
from index.errors import UnknownIndexError
from index.protocol import Catalog

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collection:
    """A store, its indexes, and the journeys on them.

    Attributes:
        name: the name that `?index=` takes; the default collection has others, too.
        store: the logos.
        catalog: the indexes of the store.
        search: finds neighbours.
        metric: how vectors are compared.
        attributes: of the logos.
        setter: sets attributes.
        remover: deletes logos.
        vectors: adds logos by their vectors.
        backlog: counts the logos that are not yet indexed.
        adder: adds logos by their images; `None` without an embedder.
        embedder: makes vectors of images; `None` if clients send vectors only.
    """

    name: str
    store: EmbeddingStore
    catalog: Catalog
    search: NeighbourSearch
    metric: Metric
    attributes: LogoAttributes
    setter: AttributeSetter
    remover: LogoRemover
    vectors: VectorAdder
    backlog: Backlog
    adder: LogoAdder | None = None
    embedder: LogoEmbedder | None = None

    def image_adder(self) -> LogoAdder:
        """Return what adds logos by their images.

        Raises:
            NoEmbedderError: the collection has no embedder.
        """
        if self.adder is None:
            raise self._no_embedder(f"add vectors of {self.store.dim} values with POST /api/v1/ann/add_embeddings")
        return self.adder

    def image_embedder(self) -> LogoEmbedder:
        """Return what makes vectors of images; errors are those of `image_adder`."""
        if self.embedder is None:
            raise self._no_embedder(
                f"search for a vector of {self.store.dim} values with POST /api/v1/ann/from_embedding"
            )
        return self.embedder

    def close(self) -> None:
        """Stop watching for new indexes, and close the store and its attributes."""
        self.catalog.close()
        self.store.close()
        self.attributes.close()

    def _no_embedder(self, instead: str) -> NoEmbedderError:
        return NoEmbedderError(f"The collection {self.name} does not embed images: {instead}?index={self.name}.")


class Collections:
    """Finds the collection that a request names. Threads may share it.

    Args:
        default: the collection of requests that name none, or an index without a store of its own.
        default_names: the names that are always its own.
        directory: holds the definitions of the others.
        open_collection: opens a collection and its store.
    """

    def __init__(
        self,
        default: Collection,
        default_names: Names[str],
        directory: CollectionDirectory,
        open_collection: Callable[[CollectionDefinition], Collection],
    ) -> None:
        self.default = default
        self._default_names = frozenset(default_names)
        self._directory = directory
        self._open_collection = open_collection
        self._mutex = threading.Lock()
        self._opened: dict[str, tuple[object, Collection]] = {}

    def of(self, name: str | None) -> Collection:
        """Return the collection that a name belongs to; the default one if no other collection has that name.

        Raises:
            CollectionError: its definition cannot be used.
            StoreError: its store cannot be opened.
        """
        if name is None or name in self._default_names:
            return self.default
        identity = self._directory.identity(name)
        known = self._opened.get(name)
        if known is not None and known[0] == identity:
            return known[1]
        if identity is None and known is None:  # and so does not wait until another collection is open
            return self.default
        with self._mutex:
            known = self._opened.get(name)
            if known is not None and known[0] != identity:
                del self._opened[name]
                known[1].catalog.close()  # requests in progress still use its store
                logger.info("collection %s was dropped", name)
                known = None
            if identity is None:
                return self.default
            if known is None:
                known = self._opened[name] = identity, self._open_collection(self._directory.get(name))
            return known[1]

    def named(self, name: str | None) -> Collection:
        """Return the collection of a name, for routes that must reject a misspelt one.

        Raises:
            UnknownIndexError: neither an index nor a collection has this name.
            CollectionError, StoreError: as for `of`.
        """
        collection = self.of(name)
        collection.catalog.status_of(name)
        return collection

    def each(self) -> Iterator[tuple[str, Collection | EmbeddingsError]]:
        """Yield all collections by name, the default one first; an error in place of one that cannot be opened."""
        yield self.default.name, self.default
        for name in self._directory.names():
            try:
                yield name, self.named(name)
            except EmbeddingsError as error:
                yield name, error
            except UnknownIndexError:  # it was dropped after the names were read
                continue

    def names(self) -> list[str]:
        """Return the names of the indexes and collections that `?index=` takes, in alphabetical order."""
        return sorted({*self.default.catalog.names(), *self._directory.names()})

    def close(self) -> None:
        """Close all collections."""
        with self._mutex:
            for _, collection in self._opened.values():
                collection.close()
            self._opened.clear()
