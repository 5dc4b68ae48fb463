"""The route of attributes: set them and look them up."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from api.journeys.collections import Collections
from api.routes import schemas
from api.routes.parameters import index_of, logo_ids_of


@dataclass(frozen=True, slots=True)
class AttributesResource:
    """`GET` and `PUT /api/v1/ann/attributes`: the attributes of logos."""

    collections: Collections
    max_logos: int

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return what is known; logos without attributes are left out."""
        logo_ids = logo_ids_of(req, self.max_logos)
        found = self.collections.named(index_of(req, blank_is_default=True)).attributes.get(logo_ids)
        resp.media = {"attributes": {str(logo_id): of_logo for logo_id, of_logo in found.items()}, "count": len(found)}

    on_head = on_get

    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Merge the attributes of the body, and return how many logos have them now; they are on disk by then."""
        body = req.get_media()
        schemas.check("AttributeChanges", body)
        schemas.check_logos(body["logos"], self.max_logos)
        changes: dict[int, dict[str, str | None]] = {}
        for position, logo in enumerate(body["logos"]):  # of an id that is named twice, the later values hold
            changes.setdefault(schemas.whole_id(logo["id"], f".logos[{position}].id"), {}).update(logo["attributes"])
        unknown = self.collections.named(index_of(req, blank_is_default=True)).setter.merge(changes)
        resp.media = {"updated": len(changes) - len(unknown), "unknown": unknown}
