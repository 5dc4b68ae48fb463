"""The routes of the document: `/openapi.json`, and its page under `/docs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon
import orjson

from api.openapi.document import document
from api.representation import Representation
from api.static import StaticFolder
from settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "static" / "docs"
# Nothing from another host, and nothing to one: the page shows this service's document, and tries its routes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(slots=True)
class DocumentResource:
    """`GET /openapi.json`: the document. It tells of its own route, too, so it is set once all routes are there."""

    document: Representation | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the document, or 304 if the client has it."""
        assert self.document is not None, "add_document sets it"
        self.document.answer(req, resp)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer what `GET` would, without the document."""
        self.on_get(req, resp)


def add_document(app: falcon.App[Any, Any], settings: Settings, *, dim: int) -> None:
    """Have an app tell of all the routes that it has; of those added later it would not.

    Args:
        app: with all its other routes.
        settings: the limits that the document names.
        dim: how many values a vector has.
    """
    resource = DocumentResource()
    files = StaticFolder(PAGE, POLICY)
    app.add_route("/openapi.json", resource)
    app.add_route("/docs", files.page("index.html"))
    app.add_route("/docs/{file}", files)
    resource.document = Representation.of(orjson.dumps(document(app, settings, dim=dim)), falcon.MEDIA_JSON)
