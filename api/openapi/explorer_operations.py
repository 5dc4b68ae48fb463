"""The operations under `/api/v1/ann` that were made for the explorer: how an index is, and where logos were seen."""

from __future__ import annotations

from api.openapi.answers import reference
from api.openapi.operation import JSON, Answer, Example, Operation
from api.openapi.refusals import ANYWHERE
from api.openapi.search_parameters import index_parameter, logo_ids_parameter
from api.server.bodies import API
from settings import Settings

_INDEX = "Index"


def explorer_operations(settings: Settings) -> list[Operation]:
    """Return what can be asked about an index, and about the logos in it."""
    index = index_parameter(settings, "The index that is told of")
    return [
        Operation(
            "GET",
            f"{API}/status",
            "indexStatus",
            _INDEX,
            "How an index is",
            "How old it is, what it holds and what waits for the next one, and what share of the nearest it finds.",
            {200: Answer("The status.", {JSON: reference("Status")})},
            (400, 503, *ANYWHERE),
            (index,),
            examples=(
                Example(
                    "of_a_new_index",
                    {
                        "index": "efficientnet-b0",
                        "generation": "20261125T030000Z",
                        "built_at": "2026-11-25T03:00:00Z",
                        "age_seconds": 3600.5,
                        "logos_indexed": 3,
                        "logos_stored": 3,
                        "logos_waiting": 0,
                        "recall": {"at_10": 1.0, "at_100": 1.0},
                        "error": None,
                        "map_points": 3,
                        "indexes": ["efficientnet-b0"],
                        "model": "efficientnet-lite0",
                        "distances": {"alike": 1.2938, "different": 1.3967},
                        "keeps_provenance": True,
                    },
                ),
            ),
        ),
        Operation(
            "GET",
            f"{API}/map",
            "indexMap",
            _INDEX,
            "A map of an index",
            "Points in the plane, alike logos near each other; of a large index, a sample.",
            {
                200: Answer("The map.", {JSON: reference("Map")}),
                304: Answer("The client has it already: it sent its `ETag` in `If-None-Match`.", {}),
            },
            (400, 404, 503, *ANYWHERE),
            (index,),
            examples=(
                Example(
                    "of_three_logos",
                    {
                        "generation": "20261125T030000Z",
                        "logo_ids": [1003, 1004, 1005],
                        "x": [65535, 0, 65161],
                        "y": [18699, 32647, 46836],
                    },
                ),
            ),
        ),
        Operation(
            "GET",
            f"{API}/provenance",
            "provenanceOfLogos",
            _INDEX,
            "Where logos were seen",
            "The photo that each was added from, and where on it. Logos of which that is not known are left out.",
            {200: Answer("The photos and boxes.", {JSON: reference("Provenance")})},
            (400, 503, *ANYWHERE),
            (logo_ids_parameter(settings),),
            examples=(
                Example(
                    "of_a_logo_and_an_unknown_one",
                    {
                        "provenance": {
                            "1003": {
                                "image_url": "https://images.example.org/photo-002.jpg",
                                "bounding_box": [0.4139, 0.2176, 0.5917, 0.6481],
                                "orientation": 1,
                            }
                        },
                        "count": 1,
                    },
                    parameters={"logo_ids": [1003, 7]},
                ),
            ),
        ),
    ]
