"""The routes of the document: `/openapi.json`, and its page under `/docs`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import falcon
import orjson

from api.answers.folder import StaticFolder
from api.answers.representation import Representation
from api.openapi.document import document
from settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "pages" / "docs"
# Nothing from another host, and nothing to one: the page shows this service's document, and tries its routes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DocumentResource:
    """`GET /openapi.json`: the document, made when it is first asked for.

    By then the app has all its routes, and a start need not wait for a page that few look at.

    Args:
        make: makes the document.
    """

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._made: Representation | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the document, or 304 if the client has it."""
        if self._made is None:  # two threads may make it, and it is the same
            self._made = Representation.of(orjson.dumps(self._make()), falcon.MEDIA_JSON)
        self._made.answer(req, resp)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer what `GET` would, without the document."""
        self.on_get(req, resp)


def add_routes(app: falcon.App[Any, Any], settings: Settings, *, dim: int) -> None:
    """Have an app tell of the routes that it has, with the limits of the settings, for vectors of `dim` values."""
    files = StaticFolder(PAGE, POLICY)
    app.add_route("/openapi.json", DocumentResource(partial(document, app, settings, dim=dim)))
    app.add_route("/docs", files.page("index.html"))
    app.add_route("/docs/{file}", files)
