"""The statuses that requests are refused with, all in one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.openapi.operation import JSON, Answer
from api.server.refusal import MOST_HEADERS, SECONDS_UNTIL_RETRY
from settings import Settings

ERROR = {
    "description": "Why a request was not answered.",
    "type": "object",
    "required": ["title"],
    "properties": {
        "title": {"description": "What is wrong.", "type": "string", "minLength": 1},
        "description": {"description": "What there is to add.", "type": "string"},
    },
    "additionalProperties": False,
}
ANYWHERE = (408, 411, 413, 414, 431, 500)
"""What any request may be answered, whatever it asks for."""


def refusals(settings: Settings) -> Mapping[int, Answer]:
    """Return how each status is answered."""
    retry = {
        "Retry-After": {
            "description": "Seconds after which it may be tried again.",
            "required": True,
            "schema": {"type": "integer", "minimum": SECONDS_UNTIL_RETRY},
        }
    }
    told: Mapping[int, str] = {
        400: "The request, its image or one of its boxes cannot be used; nothing was stored.",
        404: "There is no such logo, or none of what was asked for.",
        408: f"The request did not come whole within {settings.receive_seconds:g} s.",
        411: "The body has no Content-Length, but a transfer coding that is not read: only `chunked` is.",
        413: f"The body is over {settings.max_body_bytes} bytes ({settings.image_max_bytes} where an image is sent).",
        414: "The address is too long, over 8190 bytes with its method.",
        415: "The body is not of the type that is taken, or is compressed.",
        431: f"The request has more than {MOST_HEADERS} headers, or too large ones.",
        500: "The stored vector of the logo is damaged, or the log says more.",
        503: "For now: too much is under way, the image's host says to come back later, the index cannot be served, or "
        "the store cannot be used. Try again.",
        507: "The store is full.",
    }
    return {status: _refusal(text, retry if status == 503 else {}) for status, text in told.items()}


def _refusal(description: str, headers: Mapping[str, Any]) -> Answer:
    return Answer(description, {JSON: {"$ref": "#/components/schemas/Error"}}, headers)
