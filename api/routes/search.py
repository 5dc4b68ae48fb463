"""The routes of queries: each reads its request, searches once, and shapes the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon
import numpy as np
from numpy.typing import NDArray

from api.journeys.collections import Collection, Collections
from api.journeys.index_state import IndexState, index_state
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.write_limit import WriteLimit
from api.routes import schemas
from api.routes.parameters import (
    DEFAULT_COUNT,
    WHOLE_IMAGE,
    bounding_box_of,
    count_of,
    excludes_self,
    index_of,
    logo_ids_of,
    narrowed,
)
from embeddings.images.decode import check_box
from index.protocol import Neighbours

INDEX_STATE = "X-Index-State"


@dataclass(frozen=True, slots=True)
class LogoNeighboursResource:
    """`GET /api/v1/ann/{logo_id}`: the nearest logos to a known one."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Return the neighbours, or 404."""
        count, exclude_self, index_name = count_of(req), excludes_self(req), index_of(req)
        search = narrowed(req, self.collections.of(index_name).search)
        mark_empty(resp, search, index_name)
        neighbours = search.of_logo(logo_id, count, index_name, exclude_self=exclude_self)
        if neighbours is None:
            raise unknown_logo(logo_id)
        resp.media = listed(neighbours)


@dataclass(frozen=True, slots=True)
class RandomNeighboursResource:
    """`GET /api/v1/ann`: the nearest logos to a random one of the index."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the neighbours; none if the index is empty."""
        count, exclude_self, index_name = count_of(req), excludes_self(req), index_of(req)
        search = narrowed(req, self.collections.of(index_name).search)
        mark_empty(resp, search, index_name)
        resp.media = listed(search.of_random_logo(count, index_name, exclude_self=exclude_self))


@dataclass(frozen=True, slots=True)
class BatchNeighboursResource:
    """`GET` and `POST /api/v1/ann/batch`: the nearest logos to each of several."""

    collections: Collections
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the neighbours of the logos that the address names."""
        count, logo_ids = count_of(req), logo_ids_of(req, self.max_logos)
        self._answer(req, resp, logo_ids, count, index_of(req))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the neighbours of the logos that the body names: more than an address has room for."""
        try:
            body = req.get_media()
        except (falcon.HTTPUnsupportedMediaType, falcon.MediaNotFoundError):
            description = "The body must be a JSON object."  # no POST, as with the original
            raise falcon.HTTPMethodNotAllowed(["GET", "OPTIONS", "POST"], description=description) from None
        schemas.check("BatchQuery", body)
        logo_ids = schemas.logo_ids_in(body, self.max_logos)
        count = int(body.get("count", DEFAULT_COUNT))
        self._answer(req, resp, logo_ids, count, index_of(req, blank_is_default=True))

    def _answer(
        self, req: falcon.Request, resp: falcon.Response, logo_ids: list[int], count: int, index_name: str | None
    ) -> None:
        """Return the neighbours of the known logos, keyed by id in the order of the request."""
        exclude_self = excludes_self(req)
        search = narrowed(req, self.collections.of(index_name).search)
        mark_empty(resp, search, index_name)
        answers = search.of_logos(logo_ids, count, index_name, exclude_self=exclude_self)
        results = {str(logo_id): _rows(neighbours) for logo_id, neighbours in answers.items()}
        resp.media = {"results": results, "count": len(results)}


@dataclass(frozen=True, slots=True)
class EmbeddingNeighboursResource:
    """`POST /api/v1/ann/from_embedding`: the nearest logos to a vector."""

    collections: Collections

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the neighbours of the body's `embedding`; one unless its `count` says more."""
        body = req.get_media()
        _check_embedding(body)
        index_name = index_of(req)
        search = self.collections.of(index_name).search
        index = search.catalog.get(index_name)
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
        mark_empty(resp, search, index_name)
        resp.media = listed(narrowed(req, search).of_vector(vector, int(count), index_name))


@dataclass(frozen=True, slots=True)
class ImageNeighboursResource:
    """The nearest logos to one on an image that is not stored.

    The vector that is searched for is the very one that `/add` would store. Embedding takes a thread for as long as an
    add without its image's fetching, so it counts as one: queries by id keep theirs.
    """

    collections: Collections
    limit: WriteLimit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the neighbours of what the `bounding_box` holds of the body, an image's file, and its orientation."""
        if not is_image(req):
            text = "Send an image's file as the body, with its Content-Type: image/jpeg, image/png, ..."
            raise falcon.HTTPUnsupportedMediaType(title="not an image", description=text)
        count, index_name = count_of(req), index_of(req, blank_is_default=True)
        collection = self.collections.of(index_name)
        search = narrowed(req, collection.search)
        vector, orientation = vector_of_image(req, collection, index_name, self.limit)
        mark_empty(resp, search, index_name)
        resp.media = listed(search.of_vector(vector, count, index_name)) | {"orientation": orientation}


@dataclass(frozen=True, slots=True)
class UrlNeighboursResource:
    """`POST /api/v1/ann/from_url`: the nearest logos to one on an image that the service downloads, as for `/add`."""

    collections: Collections

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the neighbours of what the `bounding_box` holds of the image at `image_url`, and its orientation."""
        body = req.get_media()
        schemas.check("UrlQuery", body)
        y_min, x_min, y_max, x_max = map(float, body.get("bounding_box", WHOLE_IMAGE))
        index_name = index_of(req, blank_is_default=True)
        collection = self.collections.of(index_name)
        search = narrowed(req, collection.search)
        collection.catalog.get(index_name)  # if there is none, nothing need be downloaded
        vector, orientation = collection.image_adder().embed(body["image_url"], (y_min, x_min, y_max, x_max))
        mark_empty(resp, search, index_name)
        neighbours = search.of_vector(vector, int(body.get("count", DEFAULT_COUNT)), index_name)
        resp.media = listed(neighbours) | {"orientation": orientation}


def is_image(req: falcon.Request) -> bool:
    """Return whether the body is said to be the file of an image."""
    return (req.content_type or "").lower().startswith("image/")


def vector_of_image(
    req: falcon.Request, collection: Collection, index_name: str | None, limit: WriteLimit
) -> tuple[NDArray[np.float32], int | None]:
    """Embed what the `bounding_box` holds of the body, an image's file.

    Return its `(dim,)` vector, and the orientation of the image.

    Raises:
        falcon.HTTPBadRequest: `bounding_box` is not four numbers.
        ImageError: the image or the box cannot be used.
        SearchError: there is no such index, so nothing is embedded.
        NoEmbedderError: the collection takes vectors only.
        TooManyWritesError: as many requests as allowed are embedding, or changing a store; try again.
    """
    box = bounding_box_of(req)
    check_box(box, logo_id=None)
    collection.catalog.get(index_name)
    embedder = collection.image_embedder()
    with limit.turn():
        (vector,), orientation = embedder.embed(req.bounded_stream.read(), [(None, box)])
    return vector, orientation


def unknown_logo(logo_id: int) -> falcon.HTTPNotFound:
    """Return the 404 of a logo that is not stored."""
    return falcon.HTTPNotFound(title="unknown logo", description=f"Logo {str(logo_id)[:40]} is not stored.")


def mark_empty(resp: falcon.Response, search: NeighbourSearch, index_name: str | None) -> None:
    """Say in a header that the index to search holds no logos, so that the results are not taken for final.

    Call it before the search: an index that is loaded in between is then called empty, not the other way round.
    """
    if index_state(search.catalog, index_name) is IndexState.EMPTY:
        resp.set_header(INDEX_STATE, IndexState.EMPTY)
        resp.set_header("Access-Control-Expose-Headers", INDEX_STATE)


def _check_embedding(body: Any) -> None:
    try:
        schemas.check("EmbeddingQuery", body, without="count")
    except falcon.MediaValidationError as error:
        if isinstance(body, dict) and isinstance(body.get("embedding"), (list, str, dict)):
            error.title = "invalid dimension"  # the original counted the values of whatever has some
        raise


def _rows(neighbours: Neighbours) -> list[dict[str, Any]]:
    return [
        {"distance": distance, "logo_id": logo_id}
        for distance, logo_id in zip(neighbours.distances, neighbours.logo_ids, strict=True)
    ]


def listed(neighbours: Neighbours | None) -> dict[str, Any]:
    """Shape the answer of a query; `None` is one without neighbours."""
    rows = [] if neighbours is None else _rows(neighbours)
    return {"results": rows, "count": len(rows)}
