"""The routes of stored logos: add, delete, count and list them, and return their provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon

from api.answers import stored_answer
from api.errors import wording_of
from api.journeys.collections import Collections
from api.journeys.logo_adder import Logo
from api.journeys.logo_embedder import Rejections
from api.journeys.vector_adder import SentLogo
from api.routes import schemas
from api.routes.parameters import WHOLE_IMAGE, index_of, is_partial, is_replacing, logo_ids_of
from api.routes.search import LogoNeighboursResource, unknown_logo
from api.server.lazy_answer import lazily
from embeddings.images.decode import check_box
from embeddings.store.provenance import Provenance
from embeddings.store.seen_rows import BLOCK


@dataclass(frozen=True, slots=True)
class DeletableLogoResource(LogoNeighboursResource):
    """`DELETE /api/v1/ann/{logo_id}`, besides the `GET`: delete a logo."""

    def on_delete(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Delete the logo, or return 404. When the answer is sent, the deletion is on disk."""
        if not self.collections.named(index_of(req, blank_is_default=True)).remover.remove([logo_id]):
            raise unknown_logo(logo_id)
        resp.media = {"deleted": 1}


@dataclass(frozen=True, slots=True)
class DeletionsResource:
    """`POST /api/v1/ann/delete`: delete many logos."""

    collections: Collections
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Delete the logos, and return how many were stored. When the answer is sent, the deletions are on disk."""
        body = req.get_media()
        schemas.check("Deletion", body)
        logo_ids = schemas.logo_ids_in(body, self.max_logos)
        collection = self.collections.named(index_of(req, blank_is_default=True))
        resp.media = {"deleted": len(collection.remover.remove(logo_ids))}


@dataclass(frozen=True, slots=True)
class AddResource:
    """`POST /api/v1/ann/add`: embed the logos of an image and store them."""

    collections: Collections
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Store the new logos, and return how many there were. When the answer is sent, they are on disk."""
        body = req.get_media()
        schemas.check("Addition", body)
        schemas.check_logos(body["logos"], self.max_logos)
        logos = [Logo(logo_id, tuple(logo["bounding_box"])) for logo_id, logo in _with_ids(body["logos"])]
        partial = is_partial(req)
        adder = self.collections.of(index_of(req, blank_is_default=True)).image_adder()
        if not partial:
            resp.media = {"added": adder.add(body["image_url"], logos)}
            return
        rejected: Rejections = {}
        added = adder.add(body["image_url"], logos, rejected)
        resp.media = {
            "added": added,
            "rejected": [{"id": logo_id, **wording_of(error)} for logo_id, error in rejected.items()],
        }


@dataclass(frozen=True, slots=True)
class AddEmbeddingsResource:
    """`POST /api/v1/ann/add_embeddings`: store vectors that the client computed."""

    collections: Collections
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Store the logos, and return how many are new. When the answer is sent, they are on disk."""
        replace = is_replacing(req)
        body = req.get_media()
        schemas.check("EmbeddingsAddition", _without_values(body))
        schemas.check_logos(body["logos"], self.max_logos)
        logos = [
            SentLogo(logo_id, logo["embedding"], _origin(logo_id, logo), logo.get("attributes") or {})
            for logo_id, logo in _with_ids(body["logos"])
        ]
        collection = self.collections.named(index_of(req, blank_is_default=True))
        resp.media = {"added": collection.vectors.add(logos, replace=replace)}


@dataclass(frozen=True, slots=True)
class CountResource:
    """`GET /api/v1/ann/count`: the number of stored logos."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the count."""
        resp.media = {"count": len(self.collections.of(index_of(req, blank_is_default=True)).store)}


@dataclass(frozen=True, slots=True)
class StoredResource:
    """`GET /api/v1/ann/stored`: the ids of all stored logos."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the ids in the order in which they were stored."""
        store = self.collections.of(index_of(req, blank_is_default=True)).store
        if store.seen().end <= BLOCK:
            resp.media = {"stored": store.ids()}
            return
        ids = store.stored_ids()
        resp.content_type = falcon.MEDIA_JSON
        pieces = lazily(stored_answer.pieces(ids), req.env, held_bytes=ids.nbytes)
        resp.set_stream(pieces, stored_answer.length(ids))


@dataclass(frozen=True, slots=True)
class ProvenanceResource:
    """`GET /api/v1/ann/provenance`: the photos that logos were cut from, and their boxes on them."""

    collections: Collections
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the provenance of each logo; logos that are not stored or have none are left out."""
        logo_ids = logo_ids_of(req, self.max_logos)
        known = self.collections.of(index_of(req, blank_is_default=True)).store.provenance(logo_ids)
        found = {
            str(logo_id): {
                "image_url": origin.image_url,
                "bounding_box": origin.bounding_box,
                "orientation": origin.orientation,
            }
            for logo_id, origin in known.items()
        }
        resp.media = {"provenance": found, "count": len(found)}

    on_head = on_get


def _with_ids(logos: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Return the logos of a body, each with its id; errors are those of `schemas.whole_id`."""
    return [(schemas.whole_id(logo["id"], f".logos[{position}].id"), logo) for position, logo in enumerate(logos)]


def _without_values(body: Any) -> Any:
    """Return a body whose lists of numbers are empty: the decoder checks each value, in a tenth of the time."""
    if not isinstance(body, dict) or not isinstance(body.get("logos"), list):
        return body
    return body | {
        "logos": [
            logo | {"embedding": []} if isinstance(logo, dict) and isinstance(logo.get("embedding"), list) else logo
            for logo in body["logos"]
        ]
    }


def _origin(logo_id: int, logo: dict[str, Any]) -> Provenance | None:
    if "image_url" not in logo:
        return None
    y_min, x_min, y_max, x_max = map(float, logo.get("bounding_box", WHOLE_IMAGE))
    box = y_min, x_min, y_max, x_max
    check_box(box, logo_id=logo_id)
    orientation = logo.get("orientation")
    return Provenance(logo["image_url"], box, None if orientation is None else int(orientation))  # it may be 6.0
