"""The operations under `/api/v1/ann` that store logos, tell which are stored, and forget them."""

from __future__ import annotations

from api.openapi.answers import reference
from api.openapi.operation import JSON, Answer, Body, Example, Link, Operation
from api.openapi.refusals import ANYWHERE
from api.openapi.search_parameters import LOGO_ID_PARAMETER
from api.routes.schemas import ADD_BODY, Schema
from api.server.bodies import API
from settings import Settings

_LOGOS = "Logos"
_PHOTO = "https://images.example.org/photo-004.jpg"
_OF_THE_FIRST = {"logo_id": "$request.body#/logos/0/id"}
_STORED = Answer(
    "How many were new.",
    {JSON: reference("Added")},
    links={
        "neighbours": Link("neighboursOfLogo", "A logo can be asked for at once.", _OF_THE_FIRST),
        "provenance": Link(
            "provenanceOfLogos", "The service remembers where it was seen.", {"logo_ids": _OF_THE_FIRST["logo_id"]}
        ),
        "deletion": Link("deleteLogo", "It can be forgotten again.", _OF_THE_FIRST),
    },
)


def logo_operations(settings: Settings) -> list[Operation]:
    """Return what can be asked of the store."""
    return [
        Operation(
            "POST",
            f"{API}/add",
            "addLogos",
            _LOGOS,
            "Embed the logos on an image, and store them",
            "The image is fetched from its address. The answer comes when the logos are on disk. Those that are stored "
            "already are skipped; if one cannot be used, none is stored.",
            {200: _STORED},
            (400, 415, 503, 507, *ANYWHERE),
            body=Body("An image, and the boxes of its logos.", {JSON: _addition(settings)}),
            examples=(
                Example("of_a_logo", {"added": 1}, body=_added(1006, [0.2992, 0.4858, 0.4758, 0.68])),
                Example(
                    "of_a_box_that_is_upside_down",
                    {
                        "title": "invalid image",
                        "description": "The bounding box of logo 1007 is empty or inverted: give it as y_min, x_min, "
                        "y_max, x_max, each minimum below its maximum.",
                    },
                    400,
                    body=_added(1007, [0.4758, 0.4858, 0.2992, 0.68]),
                ),
            ),
        ),
        Operation(
            "GET",
            f"{API}/count",
            "countLogos",
            _LOGOS,
            "How many logos are stored",
            "Deleted ones do not count.",
            {200: Answer("The count.", {JSON: reference("Count")})},
            (503, *ANYWHERE),
            examples=(Example("of_three", {"count": 3}),),
        ),
        Operation(
            "GET",
            f"{API}/stored",
            "storedLogos",
            _LOGOS,
            "Which logos are stored",
            "All of them, in one answer.",
            {200: Answer("The ids, in the order they were stored.", {JSON: reference("Stored")})},
            (503, *ANYWHERE),
            examples=(Example("of_three", {"stored": [1003, 1004, 1005]}),),
        ),
        Operation(
            "DELETE",
            f"{API}/{{logo_id}}",
            "deleteLogo",
            _LOGOS,
            "Forget a logo",
            "It is in no answer from then on. The answer comes when that is on disk.",
            {200: Answer("It is forgotten.", {JSON: reference("Deleted")})},
            (404, 503, *ANYWHERE),
            (LOGO_ID_PARAMETER,),
            examples=(
                Example("of_a_stored_logo", {"deleted": 1}, parameters={"logo_id": 1004}),
                Example(
                    "of_an_unknown_logo",
                    {"title": "unknown logo", "description": "Logo 7 is not stored."},
                    404,
                    {"logo_id": 7},
                ),
            ),
        ),
    ]


def _addition(settings: Settings) -> Schema:
    properties = ADD_BODY["properties"]
    logos = {**properties["logos"], "maxItems": settings.requests.max_add_logos}
    return {**ADD_BODY, "properties": {**properties, "logos": logos}}


def _added(logo_id: int, box: list[float]) -> dict[str, object]:
    return {"image_url": _PHOTO, "logos": [{"id": logo_id, "bounding_box": box}]}
