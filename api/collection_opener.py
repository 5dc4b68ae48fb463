"""Opens collections: the default one at start, the others when a request names them."""

from __future__ import annotations

from dataclasses import dataclass

from api.journeys.attribute_setter import AttributeSetter
from api.journeys.backlog import Backlog
from api.journeys.collections import Collection
from api.journeys.logo_adder import LogoAdder
from api.journeys.logo_attributes import LogoAttributes
from api.journeys.logo_embedder import LogoEmbedder
from api.journeys.logo_remover import LogoRemover
from api.journeys.matching import Filters
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.unindexed import UnindexedLogos
from api.journeys.vector_adder import VectorAdder
from api.journeys.write_limit import WriteLimit
from api.telemetry.metrics import Metrics
from embeddings.collection.definition import CollectionDefinition
from embeddings.images.fetch import ImageFetcher
from embeddings.store.store import EmbeddingStore
from runtime.collections import compared_vectors, open_collection_catalog, prepare_collection
from runtime.engines import Engine
from runtime.startup import attribute_limits
from settings import Settings


@dataclass(frozen=True, slots=True)
class CollectionOpener:
    """Gives each collection what it needs.

    Attributes:
        settings: of the service.
        metrics: counts what happens to all collections.
        fetcher: downloads images.
        embedder: makes vectors of images, for the collections that have an embedder.
        limit: how many requests may change stores at once.
    """

    settings: Settings
    metrics: Metrics
    fetcher: ImageFetcher
    embedder: LogoEmbedder
    limit: WriteLimit

    def default(self, store: EmbeddingStore, engine: Engine) -> Collection:
        """Return the default collection."""
        feed = engine.feed
        on_added, on_removed = (feed.send, feed.forget) if feed else (None, None)
        beside = self.settings.search_unindexed and feed is None  # a fed engine finds new logos by itself
        unindexed = UnindexedLogos(store, self.settings.search_unindexed_max) if beside else None
        stages, limit = self.metrics.stages, self.limit
        attributes = self._attributes(store)
        setter = AttributeSetter(store, attributes, limit)
        filters = Filters(attributes, store.vectors)
        return Collection(
            name=self.settings.default_index,
            store=store,
            catalog=engine.catalog,
            search=NeighbourSearch(store, engine.catalog, unindexed, stages, filters),
            metric="euclidean",
            attributes=attributes,
            setter=setter,
            remover=LogoRemover(store, attributes, limit=limit, on_removed=on_removed),
            vectors=VectorAdder(store, setter, cosine=False, limit=limit, stages=stages, on_stored=on_added),
            backlog=Backlog(store, feed),
            adder=LogoAdder(store, self.fetcher, self.embedder, limit=limit, stages=stages, on_added=on_added),
            embedder=self.embedder,
        )

    def open(self, definition: CollectionDefinition) -> Collection:
        """Open a collection with a store of its own, and look for new indexes of it from now on.

        Raises:
            CollectionError: it embeds with another model than the service.
            StoreError: its store cannot be opened.
        """
        settings, stages, limit = self.settings, self.metrics.stages, self.limit
        store = EmbeddingStore(prepare_collection(settings, definition))
        cosine = definition.metric == "cosine"
        catalog = open_collection_catalog(settings, definition, store, on_load=self.metrics.count_load)
        catalog.start()
        attributes, vectors = self._attributes(store), compared_vectors(definition, store)
        setter = AttributeSetter(store, attributes, limit)
        unindexed = None
        if definition.fresh or settings.search_unindexed:
            unindexed = UnindexedLogos(store, settings.search_unindexed_max, vectors)
        filters = Filters(attributes, vectors)
        images = definition.model is not None
        return Collection(
            name=definition.name,
            store=store,
            catalog=catalog,
            search=NeighbourSearch(store, catalog, unindexed, stages, filters, cosine=cosine),
            metric=definition.metric,
            attributes=attributes,
            setter=setter,
            remover=LogoRemover(store, attributes, limit=limit),
            vectors=VectorAdder(store, setter, cosine=cosine, limit=limit, stages=stages),
            backlog=Backlog(store),
            adder=LogoAdder(store, self.fetcher, self.embedder, limit=limit, stages=stages) if images else None,
            embedder=self.embedder if images else None,
        )

    def _attributes(self, store: EmbeddingStore) -> LogoAttributes:
        return LogoAttributes(store.path, attribute_limits(self.settings.requests))
