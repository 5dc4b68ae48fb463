"""The operations that tell of the service itself: how it is, how it is used, and its pages."""

from __future__ import annotations

from api.openapi.answers import reference
from api.openapi.operation import JSON, Answer, Example, Operation, Parameter
from api.openapi.refusals import ANYWHERE

_SERVICE, _PAGES = "Service", "Pages"
_KNOWN = Answer("The client has it already: it sent its `ETag` in `If-None-Match`.", {})


def service_operations() -> list[Operation]:
    """Return what can be asked about the service."""
    return [
        Operation(
            "GET",
            "/livez",
            "isAlive",
            _SERVICE,
            "Is the process alive?",
            "It looks at nothing else.",
            {200: Answer("It is.", {JSON: reference("Liveness")})},
            ANYWHERE,
            examples=(Example("alive", {"status": "alive"}),),
        ),
        Operation(
            "GET",
            "/readyz",
            "isReady",
            _SERVICE,
            "Would the first query be answered?",
            "Store, index and model are looked at, each time anew.",
            {
                200: Answer("It would.", {JSON: reference("Readiness")}),
                503: Answer("It would not; one of the checks says why.", {JSON: reference("Readiness")}),
            },
            ANYWHERE,
            examples=(
                Example(
                    "ready",
                    {
                        "status": "ready",
                        "checks": {
                            "store": {"ok": True, "detail": "3 logos, room for 4997 more"},
                            "index": {"ok": True, "detail": "3 logos of 20261125T030000Z"},
                            "model": {"ok": True, "detail": "efficientnet-lite0, bundled weights, in memory"},
                        },
                    },
                ),
            ),
        ),
        Operation(
            "GET",
            "/api/v1/health",
            "health",
            _SERVICE,
            "Is all well?",
            "In the form of the py-healthcheck library, in which Robotoff answers it, too.",
            {
                200: Answer("It is.", {JSON: reference("Health")}),
                500: Answer(
                    "It is not; one of the checks says why.",
                    {JSON: {"anyOf": [reference("Health"), reference("Error")]}},
                ),
            },
            [status for status in ANYWHERE if status != 500],
        ),
        Operation(
            "GET",
            "/metrics",
            "metrics",
            _SERVICE,
            "What was counted, for Prometheus",
            "Of all worker processes together.",
            {200: Answer("Prometheus' text format.", {"text/plain": {"type": "string"}})},
            ANYWHERE,
        ),
        Operation(
            "GET",
            "/openapi.json",
            "openapiDocument",
            _SERVICE,
            "This document",
            "What the service answers to, in OpenAPI 3.1.",
            {200: Answer("The document.", {JSON: {"type": "object", "required": ["openapi"]}}), 304: _KNOWN},
            ANYWHERE,
        ),
        _page("/docs", "documentationPage", "This document as a page", "It loads nothing from other hosts."),
        _file("/docs/{file}", "documentationFile", "A file of that page"),
        _page("/", "explorerPage", "The explorer, a page to look around in the index", "Photos come from their hosts."),
        _file("/explorer/{file}", "explorerFile", "A file of the explorer"),
    ]


def _page(path: str, operation_id: str, summary: str, description: str) -> Operation:
    answers = {200: Answer("The page.", {"text/html": {"type": "string"}}), 304: _KNOWN}
    return Operation("GET", path, operation_id, _PAGES, summary, description, answers, ANYWHERE)


def _file(path: str, operation_id: str, summary: str) -> Operation:
    file = Parameter("file", "Its name.", {"type": "string", "minLength": 1}, place="path")
    answers = {200: Answer("The file.", {"*/*": {}}), 304: _KNOWN}
    text = "Any other name is a 404."
    return Operation("GET", path, operation_id, _PAGES, summary, text, answers, (404, *ANYWHERE), (file,))
