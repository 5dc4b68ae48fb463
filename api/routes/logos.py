"""The routes. Each resource reads its request, calls one journey, and shapes the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import falcon
import numpy as np

from api.answers import stored_answer
from api.journeys.logo_adder import Logo, LogoAdder
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.write_limit import WriteLimit
from api.routes import schemas
from api.routes.parameters import count_of, logo_ids_of
from api.server.lazy_body import lazily
from embeddings.store.seen_rows import BLOCK
from embeddings.store.store import EmbeddingStore
from index.protocol import Neighbours

EXACT_FLOATS = 2**53  # from here on, a JSON number read as a 64-bit float may be another whole number than was written


@dataclass(frozen=True, slots=True)
class LogoNeighboursResource:
    """`GET /api/v1/ann/{logo_id}`: the nearest logos to a known one."""

    search: NeighbourSearch

    def on_get(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Answer the neighbours, or 404."""
        neighbours = self.search.of_logo(logo_id, count_of(req), req.get_param("index"))
        if neighbours is None:
            raise _unknown(logo_id)
        resp.media = listed(neighbours)


@dataclass(frozen=True, slots=True)
class DeletableLogoResource(LogoNeighboursResource):
    """`DELETE /api/v1/ann/{logo_id}`, beside the `GET`: forget a logo."""

    limit: WriteLimit
    on_deleted: Callable[[list[int]], None] | None = None

    def on_delete(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Answer how many logos were deleted, one, or 404; it is forgotten on disk by then."""
        with self.limit.turn():
            deleted = self.search.store.delete([logo_id])
            if deleted and self.on_deleted is not None:
                self.on_deleted(deleted)
        if not deleted:
            raise _unknown(logo_id)
        resp.media = {"deleted": 1}


@dataclass(frozen=True, slots=True)
class RandomNeighboursResource:
    """`GET /api/v1/ann`: the nearest logos to a random one of the index."""

    search: NeighbourSearch

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours; none if the index is empty."""
        resp.media = listed(self.search.of_random_logo(count_of(req), req.get_param("index")))


@dataclass(frozen=True, slots=True)
class BatchNeighboursResource:
    """`GET /api/v1/ann/batch`: the nearest logos to each of several."""

    search: NeighbourSearch
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours of the known logos, keyed by id in the order asked for."""
        count = count_of(req)
        answers = self.search.of_logos(logo_ids_of(req, self.max_logos), count, req.get_param("index"))
        results = {str(logo_id): _rows(neighbours) for logo_id, neighbours in answers.items()}
        resp.media = {"results": results, "count": len(results)}


@dataclass(frozen=True, slots=True)
class EmbeddingNeighboursResource:
    """`POST /api/v1/ann/from_embedding`: the nearest logos to a vector."""

    search: NeighbourSearch

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours of the body's `embedding`; one unless its `count` says more."""
        body = req.get_media()
        schemas.check(schemas.FROM_EMBEDDING, body)
        index_name = req.get_param("index")
        index = self.search.catalog.get(index_name)
        vector = np.array(body["embedding"], np.float64)
        if len(vector) != index.dim:
            raise falcon.HTTPBadRequest(
                title="invalid dimension",
                description=f"The embedding has {len(vector)} values; {index.dim} are expected.",
            )
        count = body.get("count", 1)
        if not schemas.COUNT.is_valid(count):
            raise falcon.HTTPBadRequest(
                title="invalid dimension or count",  # the original called a bad count an invalid dimension
                description=f"count takes a whole number from 1 to {schemas.MAX_COUNT}.",
            )
        resp.media = listed(self.search.of_vector(vector, int(count), index_name))


@dataclass(frozen=True, slots=True)
class AddResource:
    """`POST /api/v1/ann/add`: embed the logos of an image and store them."""

    adder: LogoAdder
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer how many logos were new; they are on disk by then."""
        body = req.get_media()
        schemas.check(schemas.ADD, body)
        if len(body["logos"]) > self.max_logos:
            raise falcon.HTTPBadRequest(
                title="too many logos",
                description=f"The request names {len(body['logos'])} logos; {self.max_logos} are allowed.",
            )
        for position, logo in enumerate(body["logos"]):
            if isinstance(logo["id"], float) and logo["id"] >= EXACT_FLOATS:
                description = f"body.logos[{position}].id: write an id of this size without a decimal point or exponent"
                raise falcon.MediaValidationError(title="invalid request", description=description)
        logos = [Logo(int(logo["id"]), tuple(logo["bounding_box"])) for logo in body["logos"]]
        resp.media = {"added": self.adder.add(body["image_url"], logos)}


@dataclass(frozen=True, slots=True)
class CountResource:
    """`GET /api/v1/ann/count`: how many logos are stored."""

    store: EmbeddingStore

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the count."""
        resp.media = {"count": len(self.store)}


@dataclass(frozen=True, slots=True)
class StoredResource:
    """`GET /api/v1/ann/stored`: which logos are stored."""

    store: EmbeddingStore

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the ids in the order they were stored."""
        if self.store.seen().end <= BLOCK:
            resp.media = {"stored": self.store.ids()}
            return
        ids = self.store.stored_ids()
        resp.content_type = falcon.MEDIA_JSON
        pieces = lazily(stored_answer.pieces(ids), req.env, held_bytes=ids.nbytes)
        resp.set_stream(pieces, stored_answer.length(ids))


def _unknown(logo_id: int) -> falcon.HTTPNotFound:
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
