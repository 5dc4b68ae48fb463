"""The routes of stored logos: add, delete, count and list them, and say where they come from."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from api.answers import stored_answer
from api.journeys.logo_adder import Logo, LogoAdder
from api.journeys.logo_remover import LogoRemover
from api.routes import schemas
from api.routes.parameters import logo_ids_of
from api.routes.search import LogoNeighboursResource, unknown_logo
from api.server.lazy_answer import lazily
from embeddings.store.seen_rows import BLOCK
from embeddings.store.store import EmbeddingStore


@dataclass(frozen=True, slots=True)
class DeletableLogoResource(LogoNeighboursResource):
    """`DELETE /api/v1/ann/{logo_id}`, beside the `GET`: forget a logo."""

    remover: LogoRemover

    def on_delete(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Answer how many logos were deleted, one, or 404; the deletion is on the disk by then."""
        if not self.remover.remove([logo_id]):
            raise unknown_logo(logo_id)
        resp.media = {"deleted": 1}


@dataclass(frozen=True, slots=True)
class DeletionsResource:
    """`POST /api/v1/ann/delete`: forget many logos."""

    remover: LogoRemover
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return how many of the logos were stored; the deletions are on the disk by then."""
        body = req.get_media()
        schemas.check("Deletion", body)
        schemas.check_logos(body["logo_ids"], self.max_logos)
        logo_ids = [
            schemas.whole_id(number, f".logo_ids[{position}]") for position, number in enumerate(body["logo_ids"])
        ]
        resp.media = {"deleted": len(self.remover.remove(logo_ids))}


@dataclass(frozen=True, slots=True)
class AddResource:
    """`POST /api/v1/ann/add`: embed the logos of an image and store them."""

    adder: LogoAdder
    max_logos: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer how many logos were new; they are on disk by then."""
        body = req.get_media()
        schemas.check("Addition", body)
        schemas.check_logos(body["logos"], self.max_logos)
        logos = [
            Logo(schemas.whole_id(logo["id"], f".logos[{position}].id"), tuple(logo["bounding_box"]))
            for position, logo in enumerate(body["logos"])
        ]
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


@dataclass(frozen=True, slots=True)
class ProvenanceResource:
    """`GET /api/v1/ann/provenance`: the photos that logos were cut from, and where on them."""

    store: EmbeddingStore
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer what is known; logos that are not stored, or whose photo is not known, are left out."""
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
