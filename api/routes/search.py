"""The routes of queries: each reads its request, searches once, and shapes the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon
import numpy as np

from api.journeys.logo_embedder import LogoEmbedder
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.write_limit import WriteLimit
from api.routes import schemas
from api.routes.parameters import bounding_box_of, count_of, logo_ids_of, narrowed
from embeddings.images.decode import check_box
from index.protocol import Neighbours


@dataclass(frozen=True, slots=True)
class LogoNeighboursResource:
    """`GET /api/v1/ann/{logo_id}`: the nearest logos to a known one."""

    search: NeighbourSearch

    def on_get(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Answer the neighbours, or 404."""
        count, search = count_of(req), narrowed(req, self.search)
        neighbours = search.of_logo(logo_id, count, req.get_param("index"))
        if neighbours is None:
            raise unknown_logo(logo_id)
        resp.media = listed(neighbours)


@dataclass(frozen=True, slots=True)
class RandomNeighboursResource:
    """`GET /api/v1/ann`: the nearest logos to a random one of the index."""

    search: NeighbourSearch

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours; none if the index is empty."""
        count, search = count_of(req), narrowed(req, self.search)
        resp.media = listed(search.of_random_logo(count, req.get_param("index")))


@dataclass(frozen=True, slots=True)
class BatchNeighboursResource:
    """`GET /api/v1/ann/batch`: the nearest logos to each of several."""

    search: NeighbourSearch
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours of the known logos, keyed by id in the order asked for."""
        count, logo_ids, search = count_of(req), logo_ids_of(req, self.max_logos), narrowed(req, self.search)
        answers = search.of_logos(logo_ids, count, req.get_param("index"))
        results = {str(logo_id): _rows(neighbours) for logo_id, neighbours in answers.items()}
        resp.media = {"results": results, "count": len(results)}


@dataclass(frozen=True, slots=True)
class EmbeddingNeighboursResource:
    """`POST /api/v1/ann/from_embedding`: the nearest logos to a vector."""

    search: NeighbourSearch

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours of the body's `embedding`; one unless its `count` says more."""
        body = req.get_media()
        schemas.check("EmbeddingQuery", body, without="count")
        index_name = req.get_param("index")
        index = self.search.catalog.get(index_name)
        vector = np.array(body["embedding"], np.float64)
        if len(vector) != index.dim:
            raise falcon.HTTPBadRequest(
                title="invalid dimension",
                description=f"The embedding has {len(vector)} values; {index.dim} are expected.",
            )
        count = body.get("count", 1)
        if not schemas.validator("NeighbourCount").is_valid(count):
            raise falcon.HTTPBadRequest(
                title="invalid dimension or count",  # the original called a bad count an invalid dimension
                description=f"count takes a whole number from 1 to {schemas.MAX_COUNT}.",
            )
        resp.media = listed(narrowed(req, self.search).of_vector(vector, int(count), index_name))


@dataclass(frozen=True, slots=True)
class ImageNeighboursResource:
    """The nearest logos to one on an image that is not stored.

    The vector that is searched for is the very one that `/add` would store. Embedding takes a thread for as long as an
    add without its image's fetching, so it counts as one: queries by id keep theirs.
    """

    search: NeighbourSearch
    embedder: LogoEmbedder
    limit: WriteLimit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours of what the `bounding_box` holds of the body, an image's file."""
        if not (req.content_type or "").lower().startswith("image/"):
            text = "Send an image's file as the body, with its Content-Type: image/jpeg, image/png, ..."
            raise falcon.HTTPUnsupportedMediaType(title="not an image", description=text)
        count, index_name, box = count_of(req), req.get_param("index"), bounding_box_of(req)
        search = narrowed(req, self.search)
        check_box(box, logo_id=None)
        self.search.catalog.get(index_name)  # if there is none, nothing need be embedded
        with self.limit.turn():
            vector = self.embedder.embed(req.bounded_stream.read(), [(None, box)])[0]
        resp.media = listed(search.of_vector(vector, count, index_name))


def unknown_logo(logo_id: int) -> falcon.HTTPNotFound:
    """Return the 404 of a logo that is not stored."""
    return falcon.HTTPNotFound(title="unknown logo", description=f"Logo {str(logo_id)[:40]} is not stored.")


def _rows(neighbours: Neighbours) -> list[dict[str, Any]]:
    return [
        {"distance": distance, "logo_id": logo_id}
        for distance, logo_id in zip(neighbours.distances, neighbours.logo_ids, strict=True)
    ]


def listed(neighbours: Neighbours | None) -> dict[str, Any]:
    """Shape the answer of a query; `None` is one without neighbours."""
    rows = [] if neighbours is None else _rows(neighbours)
    return {"results": rows, "count": len(rows)}
