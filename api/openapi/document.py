"""The whole document: what of all operations an app answers to, with its limits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import falcon
import falcon.inspect

from api.openapi.answers import COMPONENTS
from api.openapi.explorer_operations import explorer_operations
from api.openapi.logo_operations import logo_operations
from api.openapi.operation import HEADERS, Operation
from api.openapi.refusals import refusals
from api.openapi.search_operations import search_operations
from api.openapi.service_operations import service_operations
from settings import Settings
from version import VERSION

_ABOUT = (
    "Which known logos look most like this one? Photos are sent by their address, with the boxes of their logos; each "
    "logo is embedded, and its vector kept. Neighbours are answered with Euclidean distances, from an index.\n\n"
    "A trailing slash is accepted, unknown parameters are ignored, any origin may call. Errors are "
    '`{"title": "...", "description": "..."}`, the description only where there is something to add. Another method '
    "than those shown is 405, another path 404."
)


def document(app: falcon.App[Any, Any], settings: Settings, *, dim: int) -> dict[str, Any]:
    """Return the OpenAPI document of the routes that an app has by now, for vectors of `dim` values."""
    answered = set(routes(app))
    refused = refusals(settings)
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, None] = {}
    there = [operation for operation in operations(settings, dim) if (operation.method, operation.path) in answered]
    ids = {operation.id for operation in there}
    for operation in there:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.written(refused, ids)
        tags[operation.tag] = None
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "robotoff-ann",
            "version": VERSION,
            "summary": "The nearest logos to a logo.",
            "description": _ABOUT,
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": "./"}],  # as seen from the document: a proxy may have put the service below a path
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": dict(COMPONENTS),
            "headers": dict(HEADERS),
            "responses": {str(status): answer.written() for status, answer in refused.items()},
        },
    }


def operations(settings: Settings, dim: int) -> list[Operation]:
    """Return all that the service can be asked, whatever an app has of it."""
    return [
        *search_operations(settings, dim),
        *logo_operations(settings),
        *explorer_operations(settings),
        *service_operations(),
    ]


def routes(app: falcon.App[Any, Any]) -> Iterable[tuple[str, str]]:
    """Yield the method and the path, as OpenAPI writes them, of all that an app answers to.

    `HEAD` is left out: where it is answered, it is what `GET` answers, without the body.
    """
    for route in falcon.inspect.inspect_routes(app):
        path = re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
        for method in route.methods:
            if not method.internal and method.method != "HEAD":
                yield method.method, path
