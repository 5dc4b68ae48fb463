"""The operations under `/api/v1/ann`: looking for logos, and storing them."""

from __future__ import annotations

from api.openapi.answers import reference
from api.openapi.operation import JSON, Answer, Body, Example, Operation, Parameter
from api.openapi.refusals import ANYWHERE
from api.openapi.search_parameters import COUNT_PARAMETER, LOGO_ID_PARAMETER, index_parameter, logo_ids_parameter
from api.paths import API, FROM_IMAGE
from api.schemas import ADD_BODY, BOUNDING_BOX, COUNT_VALUE, FROM_EMBEDDING_BODY, Schema
from embeddings.images import FORMATS
from settings import Settings

_SEARCHES, _LOGOS = "Searches", "Logos"
_PHOTO = "https://images.example.org/photo-003.jpg"
_FOUND = Answer("The neighbours, nearest first.", {JSON: reference("Neighbours")})


def search_operations(settings: Settings, dim: int) -> list[Operation]:
    """Return what can be asked of the index and the store, whose vectors have `dim` values."""
    index = index_parameter(settings)
    return [
        Operation(
            "GET",
            f"{API}/{{logo_id}}",
            "neighboursOfLogo",
            _SEARCHES,
            "The nearest logos to a known one",
            "An indexed logo comes first itself, with distance 0. One that is only stored yet is looked up by its "
            "vector, and is not among its neighbours.",
            {200: _FOUND},
            (400, 404, 503, *ANYWHERE),
            (LOGO_ID_PARAMETER, COUNT_PARAMETER, index),
            examples=(
                Example(
                    "of_an_indexed_logo",
                    {"results": _rows((0.0, 1003), (11.132393836975098, 1005)), "count": 2},
                    parameters={"logo_id": 1003, "count": 2},
                ),
                Example(
                    "of_an_unknown_logo",
                    {"title": "unknown logo", "description": "Logo 7 is not stored."},
                    404,
                    {"logo_id": 7},
                ),
                Example(
                    "in_an_unknown_index",
                    {"title": "unknown index: nope", "description": "unknown index: nope"},
                    400,
                    {"logo_id": 1003, "index": "nope"},
                ),
                Example(
                    "of_too_many",
                    {
                        "title": "Invalid parameter",
                        "description": 'The "count" parameter is invalid. The value may not exceed 500',
                    },
                    400,
                    {"logo_id": 1003, "count": 501},
                ),
            ),
        ),
        Operation(
            "GET",
            API,
            "neighboursOfRandomLogo",
            _SEARCHES,
            "The nearest logos to a random one of the index",
            "An index without logos answers none.",
            {200: _FOUND},
            (400, 503, *ANYWHERE),
            (COUNT_PARAMETER, index),
            examples=(Example("of_any_logo", {"results": _rows((0.0, 1004)), "count": 1}, parameters={"count": 1}),),
        ),
        Operation(
            "GET",
            f"{API}/batch",
            "neighboursOfLogos",
            _SEARCHES,
            "The nearest logos to each of several",
            "Unknown logos are left out.",
            {200: Answer("The neighbours of the logos that are known.", {JSON: reference("Batch")})},
            (400, 503, *ANYWHERE),
            (logo_ids_parameter(settings), COUNT_PARAMETER, index),
            examples=(
                Example(
                    "of_two_logos_and_an_unknown_one",
                    {
                        "results": {
                            "1004": _rows((0.0, 1004), (26.382375717163086, 1005)),
                            "1005": _rows((0.0, 1005), (11.132393836975098, 1003)),
                        },
                        "count": 2,
                    },
                    parameters={"logo_ids": [1004, 1005, 7], "count": 2},
                ),
            ),
        ),
        Operation(
            "POST",
            f"{API}/from_embedding",
            "neighboursOfEmbedding",
            _SEARCHES,
            "The nearest logos to a vector",
            "`count` is 1 if the body does not say more.",
            {200: _FOUND},
            (400, 415, 503, *ANYWHERE),
            (index,),
            Body("The vector.", {JSON: _embedding(dim)}),
            (
                Example(
                    "of_a_vector",
                    {"results": _rows((50.60655975341797, 1005)), "count": 1},
                    body={"embedding": [0.5] * dim},
                ),
                Example(
                    "of_a_vector_that_is_too_short",
                    {"title": "invalid dimension", "description": f"The embedding has 2 values; {dim} are expected."},
                    400,
                    body={"embedding": [0.5, 0.25], "count": 10},
                ),
            ),
        ),
        Operation(
            "POST",
            FROM_IMAGE,
            "neighboursOfImage",
            _SEARCHES,
            "The nearest logos to one on an image that is sent",
            f"The body is an image's file, at most {settings.image_max_bytes} bytes of it. Nothing is stored.",
            {200: _FOUND},
            (400, 415, 503, *ANYWHERE),
            (
                Parameter(
                    "bounding_box",
                    f"Where the logo is: {BOUNDING_BOX['description']} Without it, the whole image is the logo.",
                    BOUNDING_BOX,
                    is_list=True,
                ),
                COUNT_PARAMETER,
                index,
            ),
            Body("The image's file.", {f"image/{name.lower()}": {} for name in FORMATS}),
        ),
        Operation(
            "POST",
            f"{API}/add",
            "addLogos",
            _LOGOS,
            "Embed the logos on an image, and store them",
            "The image is fetched from its address. The answer comes when the logos are on disk. Those that are stored "
            "already are skipped; if one cannot be used, none is stored.",
            {200: Answer("How many were new.", {JSON: reference("Added")})},
            (400, 415, 503, 507, *ANYWHERE),
            body=Body("An image, and the boxes of its logos.", {JSON: _addition(settings)}),
            examples=(
                Example("of_a_logo", {"added": 1}, body=_added(1006, [0.5125, 0.3383, 0.6219, 0.4852])),
                Example(
                    "of_a_box_that_is_upside_down",
                    {
                        "title": "invalid image",
                        "description": "The bounding box of logo 1007 is empty or inverted: give it as y_min, x_min, "
                        "y_max, x_max, each minimum below its maximum.",
                    },
                    400,
                    body=_added(1007, [0.6219, 0.3383, 0.5125, 0.4852]),
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


def _embedding(dim: int) -> Schema:
    properties = FROM_EMBEDDING_BODY["properties"]
    embedding = {**properties["embedding"], "minItems": dim, "maxItems": dim}
    count = {**COUNT_VALUE, "description": COUNT_PARAMETER.description, "default": 1}
    return {**FROM_EMBEDDING_BODY, "properties": {**properties, "embedding": embedding, "count": count}}


def _addition(settings: Settings) -> Schema:
    properties = ADD_BODY["properties"]
    logos = {**properties["logos"], "maxItems": settings.max_add_logos}
    return {**ADD_BODY, "properties": {**properties, "logos": logos}}


def _rows(*rows: tuple[float, int]) -> list[dict[str, float]]:
    return [{"distance": distance, "logo_id": logo_id} for distance, logo_id in rows]


def _added(logo_id: int, box: list[float]) -> dict[str, object]:
    return {"image_url": _PHOTO, "logos": [{"id": logo_id, "bounding_box": box}]}
