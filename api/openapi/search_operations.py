"""The operations under `/api/v1/ann` that look for logos."""

from __future__ import annotations

from api.openapi.answers import reference
from api.openapi.operation import JSON, Answer, Body, Example, Link, Operation, Parameter
from api.openapi.refusals import ANYWHERE
from api.openapi.search_parameters import COUNT_PARAMETER, LOGO_ID_PARAMETER, index_parameter, logo_ids_parameter
from api.routes.schemas import BOUNDING_BOX, COUNT_VALUE, FROM_EMBEDDING_BODY, Schema
from api.server.bodies import API, FROM_IMAGE
from embeddings.images.decode import FORMATS
from settings import Settings

_SEARCHES = "Searches"
_FOUND = Answer(
    "The neighbours, nearest first.",
    {JSON: reference("Neighbours")},
    links={
        "neighboursOfTheNearest": Link(
            "neighboursOfLogo", "From neighbour to neighbour.", {"logo_id": "$response.body#/results/0/logo_id"}
        )
    },
)


def search_operations(settings: Settings, dim: int) -> list[Operation]:
    """Return what can be asked of an index, whose vectors have `dim` values."""
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
                    {"results": _rows((0.0, 1003), (0.6222563982009888, 1005)), "count": 2},
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
                            "1004": _rows((0.0, 1004), (1.4051949977874756, 1005)),
                            "1005": _rows((0.0, 1005), (0.6222563982009888, 1003)),
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
                    {"results": _rows((17.91343116760254, 1004)), "count": 1},
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
            f"The body is an image's file, at most {settings.images.max_bytes} bytes of it. Nothing is stored.",
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
    ]


def _embedding(dim: int) -> Schema:
    properties = FROM_EMBEDDING_BODY["properties"]
    embedding = {**properties["embedding"], "minItems": dim, "maxItems": dim}
    count = {**COUNT_VALUE, "description": COUNT_PARAMETER.description, "default": 1}
    return {**FROM_EMBEDDING_BODY, "properties": {**properties, "embedding": embedding, "count": count}}


def _rows(*rows: tuple[float, int]) -> list[dict[str, float]]:
    return [{"distance": distance, "logo_id": logo_id} for distance, logo_id in rows]
