"""The search routes in the form of Robotoff's own: its clients, such as Hunger Games, can call either."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from api.journeys.collections import Collections
from api.journeys.neighbour_search import NeighbourSearch
from api.routes.parameters import count_of, index_of, narrowed
from api.routes.search import mark_empty, unknown_logo
from embeddings.attributes.filters import Condition
from index.protocol import Neighbours

DEFAULT_COUNT = 25  # as in Robotoff


@dataclass(frozen=True, slots=True)
class LogoSearchResource:
    """`GET /api/v1/ann/search/{logo_id}`: the nearest other logos to a known one."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Return the neighbours, or 404."""
        count, index_name = count_of(req, default=DEFAULT_COUNT), index_of(req, blank_is_default=True)
        search = _narrowed(req, self.collections.of(index_name).search)
        mark_empty(resp, search, index_name)
        found = search.of_logo(logo_id, count, index_name, exclude_self=True)
        if found is None:
            raise unknown_logo(logo_id)
        _answer(resp, logo_id, found)

    on_head = on_get


@dataclass(frozen=True, slots=True)
class RandomSearchResource:
    """`GET /api/v1/ann/search`: the nearest other logos to a random one."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the neighbours; none if no logo matches."""
        count, index_name = count_of(req, default=DEFAULT_COUNT), index_of(req, blank_is_default=True)
        search = _narrowed(req, self.collections.of(index_name).search)
        mark_empty(resp, search, index_name)
        found = search.of_random_logo(count + 1, index_name)
        if found is None:
            _answer(resp, None, Neighbours([], []))
        else:
            logo_id = found.logo_ids[0]
            _answer(resp, logo_id, found.without(logo_id, count))

    on_head = on_get


def _narrowed(req: falcon.Request, search: NeighbourSearch) -> NeighbourSearch:
    server_type = req.get_param("server_type")
    return narrowed(req, search, "" if server_type is None else str(Condition("server_type", server_type)))


def _answer(resp: falcon.Response, query: int | None, neighbours: Neighbours) -> None:
    rows = [
        {"logo_id": logo_id, "distance": distance}
        for logo_id, distance in zip(neighbours.logo_ids, neighbours.distances, strict=True)
    ]
    resp.media = {"results": rows, "count": len(rows), "query_logo_id": query}
