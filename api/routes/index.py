"""The routes of an index: its status and its map."""

from __future__ import annotations

import time
from dataclasses import dataclass

import falcon

from api.answers.index_maps import IndexMaps
from api.errors import without_folders
from api.journeys.backlog import Backlog
from api.journeys.index_state import index_state
from api.routes.parameters import index_of
from embeddings.model.description import ModelDescription
from embeddings.store.store import EmbeddingStore
from index.errors import SearchError
from index.protocol import Catalog
from index.status import ORIGINAL_PAIR, IndexStatus


@dataclass(frozen=True, slots=True)
class StatusResource:
    """`GET /api/v1/ann/status`: the age and size of an index, and the number of logos that are not yet indexed.

    It needs no scan: the store and the index keep counts (see `api.journeys.backlog`).
    """

    store: EmbeddingStore
    catalog: Catalog
    maps: IndexMaps
    backlog: Backlog
    model: ModelDescription

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the status, even if the index cannot be served."""
        status = self.catalog.status_of(index_of(req, blank_is_default=True))
        stored = len(self.store)
        built_at, recall = status.built_at, status.recall
        resp.media = {
            "index": status.name,
            "index_state": index_state(self.catalog, status.name),
            "generation": None if status.source in ("", ORIGINAL_PAIR) else status.source,
            "built_at": None if built_at is None else built_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "age_seconds": None if built_at is None else max(0.0, time.time() - built_at.timestamp()),
            "logos_indexed": status.items,
            "logos_stored": stored,
            "logos_waiting": self._not_yet_indexed(status, stored),
            "recall": None if recall is None else {"at_10": recall.at_10, "at_100": recall.at_100},
            "error": None if status.error is None else without_folders(status.error),
            "map_points": self.maps.of(status).points,
            "indexes": self.catalog.names(),
            "model": self.store.stamp.name,
            "distances": self._distances(),
            "keeps_provenance": self.store.keeps_provenance,
        }

    on_head = on_get

    def _distances(self) -> dict[str, float] | None:
        """Return the scale of distances, or `None` if another model made the store's vectors."""
        scale = self.model.distances
        if scale is None or self.store.stamp.digest != self.model.weights_digest:
            return None
        return {"alike": scale.alike, "different": scale.different}

    def _not_yet_indexed(self, status: IndexStatus, stored: int) -> int:
        try:
            return self.backlog.count(self.catalog.get(status.name), stored=stored)
        except SearchError:  # an index that cannot be served counts as empty
            return stored


@dataclass(frozen=True, slots=True)
class MapResource:
    """`GET /api/v1/ann/map`: the logos of an index on a plane, similar ones close together."""

    catalog: Catalog
    maps: IndexMaps

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the map, 304 if the client has it, or 404."""
        found = self.maps.of(self.catalog.status_of(index_of(req, blank_is_default=True)))
        if found.answer is None:
            raise falcon.HTTPNotFound(title="no map", description=found.lack)
        found.answer.answer(req, resp)

    on_head = on_get
