"""The routes of stored logos: add, delete, count and list them, and return their provenance."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from api.answers import stored_answer
from api.errors import wording_of
from api.journeys.logo_adder import Logo, LogoAdder
from api.journeys.logo_embedder import Rejections
from api.journeys.logo_remover import LogoRemover
from api.routes import schemas
from api.routes.parameters import is_partial, logo_ids_of
from api.routes.search import LogoNeighboursResource, unknown_logo
from api.server.lazy_answer import lazily
from embeddings.store.seen_rows import BLOCK
from embeddings.store.store import EmbeddingStore


@dataclass(frozen=True, slots=True)
class DeletableLogoResource(LogoNeighboursResource):
    """`DELETE /api/v1/ann/{logo_id}`, besides the `GET`: delete a logo."""

    remover: LogoRemover

    def on_delete(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Delete the logo, or return 404. When the answer is sent, the deletion is on disk."""
        if not self.remover.remove(logo_id):
            raise unknown_logo(logo_id)
        resp.media = {"deleted": 1}


@dataclass(frozen=True, slots=True)
class AddResource:
    """`POST /api/v1/ann/add`: embed the logos of an image and store them."""

    adder: LogoAdder
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Store the new logos, and return how many there were. When the answer is sent, they are on disk."""
        body = req.get_media()
        schemas.check("Addition", body)
        schemas.check_logos(body["logos"], self.max_logos)
        logos = [
            Logo(schemas.whole_id(logo["id"], f".logos[{position}].id"), tuple(logo["bounding_box"]))
            for position, logo in enumerate(body["logos"])
        ]
        if not is_partial(req):
            resp.media = {"added": self.adder.add(body["image_url"], logos)}
            return
        rejected: Rejections = {}
        added = self.adder.add(body["image_url"], logos, rejected)
        resp.media = {
            "added": added,
            "rejected": [{"id": logo_id, **wording_of(error)} for logo_id, error in rejected.items()],
        }


@dataclass(frozen=True, slots=True)
class CountResource:
    """`GET /api/v1/ann/count`: the number of stored logos."""

    store: EmbeddingStore

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the count."""
        resp.media = {"count": len(self.store)}


@dataclass(frozen=True, slots=True)
class StoredResource:
    """`GET /api/v1/ann/stored`: the ids of all stored logos."""

    store: EmbeddingStore

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the ids in the order in which they were stored."""
        if self.store.seen().end <= BLOCK:
            resp.media = {"stored": self.store.ids()}
            return
        ids = self.store.stored_ids()
        resp.content_type = falcon.MEDIA_JSON
        pieces = lazily(stored_answer.pieces(ids), req.env, held_bytes=ids.nbytes)
        resp.set_stream(pieces, stored_answer.length(ids))


@dataclass(frozen=True, slots=True)
class ProvenanceResource:
    """`GET /api/v1/ann/provenance`: the photos that logos were cut from, and their boxes on them."""

    store: EmbeddingStore
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the provenance of each logo; logos that are not stored or have none are left out."""
        known = self.store.provenance(logo_ids_of(req, self.max_logos))
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
