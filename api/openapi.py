"""The API document: `openapi.yaml`, and the routes that serve it, `/openapi.json` and the page `/docs`.

The file is written by hand. The settings fill in its `${...}` and its limits, and operations that the app does not
serve are dropped. JSON bodies are validated by its schemas (`api/routes/schemas.py`), but not against the limits:
routes check those themselves, because the errors have other titles.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from string import Template
from typing import Any

import falcon
import falcon.inspect
import orjson
import yaml

from api.answers.folder import StaticFolder
from api.answers.representation import Representation
from settings import Settings
from version import VERSION

FILE = Path(__file__).with_name("openapi.yaml")
PAGE = Path(__file__).with_name("pages") / "docs"
# The page loads nothing from other hosts and sends nothing to them: it needs only this service.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# libyaml's parser reads the file in 10 ms, PyYAML's own in 85 ms. Every wheel of PyYAML includes libyaml.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentResource:
    """`GET /openapi.json`: the document, built at the first request, when the app has all its routes."""

    def __init__(self, app: falcon.App[Any, Any], settings: Settings, *, dim: int) -> None:
        self._make = partial(document, app, settings, dim=dim)
        self._made: Representation | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the document, or 304 if the client has it."""
        if self._made is None:  # two threads may both build it; the results are equal
            self._made = Representation.of(orjson.dumps(self._make()), falcon.MEDIA_JSON)
        self._made.answer(req, resp)

    on_head = on_get


def add_routes(app: falcon.App[Any, Any], settings: Settings, *, dim: int) -> None:
    """Serve the document of an app, for vectors of `dim` values, and the page that shows it.

    Raises:
        OSError, yaml.YAMLError: the file cannot be read.
    """
    load()  # at start, not at the first request
    files = StaticFolder(PAGE, POLICY)
    app.add_route("/openapi.json", DocumentResource(app, settings, dim=dim))
    app.add_route("/docs", files.page("index.html"))
    app.add_route("/docs/{file}", files)


@cache
def load() -> Mapping[str, Any]:
    """Return the parsed file. It is cached and must not be changed."""
    loaded: dict[str, Any] = yaml.load(FILE.read_bytes(), Loader=_Loader)  # noqa: S506 - one of the two safe loaders
    del loaded["x-shared"]
    return loaded


def document(app: falcon.App[Any, Any], settings: Settings, *, dim: int) -> dict[str, Any]:
    """Return the document of the routes that an app has, for vectors of `dim` values."""
    values = {
        "version": VERSION,
        "dim": dim,
        "ANN_DEFAULT_INDEX": settings.default_index,
        "ANN_IMAGE_MAX_BYTES": settings.images.max_bytes,
        "ANN_MAX_BATCH_LOGOS": settings.requests.max_batch_logos,
        "ANN_MAX_BODY_BYTES": settings.requests.max_body_bytes,
        "ANN_RECEIVE_SECONDS": f"{settings.clients.receive_seconds:g}",
    }
    filled: dict[str, Any] = _filled(load(), values)
    schemas, paths = filled["components"]["schemas"], filled["paths"]
    schemas["LogoIds"]["maxItems"] = settings.requests.max_batch_logos
    schemas["NewLogos"]["maxItems"] = settings.requests.max_add_logos
    schemas["Vector"] |= {"minItems": dim, "maxItems": dim}
    search = paths["/api/v1/ann/from_embedding"]["post"]["requestBody"]["content"]["application/json"]
    search["examples"]["a vector"]["value"]["embedding"] *= dim
    filled["paths"] = _present(paths, set(routes(app)))
    return filled


def routes(app: falcon.App[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield the method and path of each operation of an app, as OpenAPI writes them.

    `HEAD` is left out: its response is that of `GET` without the body.
    """
    for route in falcon.inspect.inspect_routes(app):
        path = re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
        for method in route.methods:
            if not method.internal and method.method != "HEAD":
                yield method.method, path


def _filled(part: Any, values: Mapping[str, object]) -> Any:
    """Copy a part of the document, with each `${...}` replaced by its value."""
    if isinstance(part, dict):
        return {key: _filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, values) for value in part]
    return Template(part).safe_substitute(values) if isinstance(part, str) else part


def _present(paths: Mapping[str, Any], served: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Return the operations that are served, without links to other operations."""
    present: dict[str, Any] = {}
    for path, operations in paths.items():
        for method, operation in operations.items():
            if (method.upper(), path) in served:
                present.setdefault(path, {})[method] = operation
    ids = {operation["operationId"] for operations in present.values() for operation in operations.values()}
    for operations in present.values():
        for operation in operations.values():
            for response in operation["responses"].values():
                links = response.get("links", {})
                for name in [name for name, link in links.items() if link["operationId"] not in ids]:
                    del links[name]
    return present
