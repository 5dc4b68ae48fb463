"""The routes of stored logos: add, delete, count and list them, and say where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon

from api.answers import stored_answer
from api.journeys.collections import Collections
from api.journeys.logo_adder import Logo
from api.journeys.vector_adder import SentLogo
from api.routes import schemas
from api.routes.parameters import WHOLE_IMAGE, logo_ids_of
from api.routes.search import LogoNeighboursResource, unknown_logo
from api.server.lazy_answer import lazily
from embeddings.images.decode import check_box
from embeddings.store.provenance import Provenance
from embeddings.store.seen_rows import BLOCK

EXACT_FLOATS = 2**53  # from here on, a JSON number read as a 64-bit float may be another whole number than was written


@dataclass(frozen=True, slots=True)
class DeletableLogoResource(LogoNeighboursResource):
    """`DELETE /api/v1/ann/{logo_id}`, beside the `GET`: forget a logo."""

    def on_delete(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Answer how many logos were deleted, one, or 404; the deletion is on the disk by then."""
        if not self.collections.of(req.get_param("index")).remover.remove(logo_id):
            raise unknown_logo(logo_id)
        resp.media = {"deleted": 1}


@dataclass(frozen=True, slots=True)
class AddResource:
    """`POST /api/v1/ann/add`: embed the logos of an image and store them."""

    collections: Collections
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer how many logos were new; they are on disk by then."""
        body = req.get_media()
        schemas.check("Addition", body)
        _check_logos(body["logos"], self.max_logos)
        adder = self.collections.of(req.get_param("index")).image_adder()
        logos = [Logo(int(logo["id"]), tuple(logo["bounding_box"])) for logo in body["logos"]]
        resp.media = {"added": adder.add(body["image_url"], logos)}


@dataclass(frozen=True, slots=True)
class AddEmbeddingsResource:
    """`POST /api/v1/ann/add_embeddings`: store vectors that the client computed."""

    collections: Collections
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send how many logos were new; they are on disk by then, and so are replaced ones."""
        replace = bool(req.get_param_as_bool("replace", default=False))
        body = req.get_media()
        schemas.check("EmbeddingsAddition", _without_values(body))
        _check_logos(body["logos"], self.max_logos)
        logos = [SentLogo(int(logo["id"]), logo["embedding"], _origin(logo)) for logo in body["logos"]]
        index = req.get_param("index")
        collection = self.collections.of(index)
        collection.catalog.status_of(index)  # what has no index of that name must not get its logos
        resp.media = {"added": collection.vectors.add(logos, replace=replace)}


@dataclass(frozen=True, slots=True)
class CountResource:
    """`GET /api/v1/ann/count`: how many logos are stored."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the count."""
        resp.media = {"count": len(self.collections.of(req.get_param("index")).store)}


@dataclass(frozen=True, slots=True)
class StoredResource:
    """`GET /api/v1/ann/stored`: which logos are stored."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the ids in the order they were stored."""
        store = self.collections.of(req.get_param("index")).store
        if store.seen().end <= BLOCK:
            resp.media = {"stored": store.ids()}
            return
        ids = store.stored_ids()
        resp.content_type = falcon.MEDIA_JSON
        pieces = lazily(stored_answer.pieces(ids), req.env, held_bytes=ids.nbytes)
        resp.set_stream(pieces, stored_answer.length(ids))


@dataclass(frozen=True, slots=True)
class ProvenanceResource:
    """`GET /api/v1/ann/provenance`: the photos that logos were cut from, and where on them."""

    collections: Collections
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer what is known; logos that are not stored, or whose photo is not known, are left out."""
        logo_ids = logo_ids_of(req, self.max_logos)
        known = self.collections.of(req.get_param("index")).store.provenance(logo_ids)
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


def _check_logos(logos: list[dict[str, Any]], max_logos: int) -> None:
    """Check what the schemas cannot: how many new logos there are, and whether their ids are exact."""
    if len(logos) > max_logos:
        raise falcon.HTTPBadRequest(
            title="too many logos",
            description=f"The request names {len(logos)} logos; {max_logos} are allowed.",
        )
    for position, logo in enumerate(logos):
        if isinstance(logo["id"], float) and logo["id"] >= EXACT_FLOATS:
            description = f"body.logos[{position}].id: write an id of this size without a decimal point or exponent"
            raise falcon.MediaValidationError(title="invalid request", description=description)


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


def _origin(logo: dict[str, Any]) -> Provenance | None:
    if "image_url" not in logo:
        return None
    y_min, x_min, y_max, x_max = map(float, logo.get("bounding_box", WHOLE_IMAGE))
    box = y_min, x_min, y_max, x_max
    check_box(box, logo_id=int(logo["id"]))
    return Provenance(logo["image_url"], box)
