"""The routes of an index: its status and its map."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import falcon

from api.answers.index_maps import IndexMaps
from api.errors import without_folders
from api.journeys.collections import Collection, Collections
from api.journeys.index_state import index_state
from api.routes.attribute_values import attribute_of
from api.routes.parameters import index_of
from embeddings.model.description import ModelDescription
from index.errors import SearchError
from index.status import ORIGINAL_PAIR, IndexStatus


@dataclass(frozen=True, slots=True)
class StatusResource:
    """`GET /api/v1/ann/status`: the age and size of an index, and the number of logos that are not yet indexed.

    It needs no scan: the store and the index keep counts (see `api.journeys.backlog`).
    """

    collections: Collections
    maps: IndexMaps
    model: ModelDescription

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the status, even if the index cannot be served."""
        index_name = index_of(req, blank_is_default=True)
        collection = self.collections.of(index_name)
        status = collection.catalog.status_of(index_name)
        stored = len(collection.store)
        built_at, recall = status.built_at, status.recall
        resp.media = {
            "index": status.name,
            "index_state": index_state(collection.catalog, status.name),
            "generation": None if status.source in ("", ORIGINAL_PAIR) else status.source,
            "built_at": None if built_at is None else built_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "age_seconds": None if built_at is None else max(0.0, time.time() - built_at.timestamp()),
            "logos_indexed": status.items,
            "logos_stored": stored,
            "logos_waiting": _not_yet_indexed(collection, status, stored),
            "recall": None if recall is None else {"at_10": recall.at_10, "at_100": recall.at_100},
            "error": None if status.error is None else without_folders(status.error),
            "map_points": self.maps.of(status).points,
            "indexes": self.collections.names(),
            "model": collection.store.stamp.name,
            "dim": collection.store.dim,
            "metric": collection.metric,
            "distances": self._distances(collection),
            "keeps_provenance": collection.store.keeps_provenance,
        }

    on_head = on_get

    def _distances(self, collection: Collection) -> dict[str, float] | None:
        """Return the scale of distances, or `None` if another model made the store's vectors."""
        scale, stamp = self.model.distances, collection.store.stamp
        if scale is None or stamp.digest != self.model.weights_digest or collection.metric != "euclidean":
            return None
        return {"alike": scale.alike, "different": scale.different}


@dataclass(frozen=True, slots=True)
class MapResource:
    """`GET /api/v1/ann/map`: the logos of an index on a plane, similar ones close together."""

    collections: Collections
    maps: IndexMaps

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the map, 304 if the client has it, or 404."""
        index_name = index_of(req, blank_is_default=True)
        found = self.maps.of(self.collections.of(index_name).catalog.status_of(index_name))
        if found.answer is None:
            raise falcon.HTTPNotFound(title="no map", description=found.lack)
        found.answer.answer(req, resp)

    on_head = on_get


@dataclass(frozen=True, slots=True)
class MapValuesResource:
    """`GET /api/v1/ann/map/values`: the value of an attribute of each logo on the map."""

    collections: Collections
    maps: IndexMaps

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the values, the most frequent first, and the position of each logo's value among them; or 404."""
        index_name = index_of(req, blank_is_default=True)
        collection = self.collections.named(index_name)
        key, status = attribute_of(req, collection), collection.catalog.status_of(index_name)
        found = self.maps.of(status)
        if found.answer is None:
            raise falcon.HTTPNotFound(title="no map", description=found.lack)
        logo_ids = found.logo_ids.tolist()
        values = collection.attributes.values_of(key, logo_ids)
        counts = Counter(values.values())
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        places = {value: place for place, value in enumerate(ranked)}
        resp.media = {
            "generation": status.source,
            "values": [{"value": value, "logos": counts[value]} for value in ranked],
            "of_logos": [places[values[logo_id]] if logo_id in values else -1 for logo_id in logo_ids],
        }

    on_head = on_get


def _not_yet_indexed(collection: Collection, status: IndexStatus, stored: int) -> int:
    try:
        return collection.backlog.count(collection.catalog.get(status.name), stored=stored)
    except SearchError:  # an index that cannot be served counts as empty
        return stored
