"""What the service answers, as JSON Schema (draft 2020-12): the document's components."""

from __future__ import annotations

from collections.abc import Mapping

from api.openapi.refusals import ERROR
from api.routes.schemas import BOUNDING_BOX, LOGO_ID, MAX_COUNT, Schema


def _object(description: str, **properties: Schema) -> Schema:
    """Return the schema of an object that has all of these properties, and no others."""
    return {
        "description": description,
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def reference(name: str) -> Schema:
    """Return the schema that refers to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


_NUMBER_OF_LOGOS: Schema = {"type": "integer", "minimum": 0}
_ROWS: Schema = {
    "description": "Nearest first.",
    "type": "array",
    "items": reference("Neighbour"),
    "maxItems": MAX_COUNT,
}

_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_COORDINATES: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 65535}}
_EPOCH_SECONDS: Schema = {"description": "Seconds since 1970.", "type": "number"}
_CHECK = _object("A check.", ok={"type": "boolean"}, detail={"description": "How it is.", "type": "string"})

COMPONENTS: Mapping[str, Schema] = {
    "Error": ERROR,
    "Neighbour": _object(
        "A logo, and how far it is.",
        distance={"description": "The Euclidean distance of the vectors.", "type": "number", "minimum": 0},
        logo_id=LOGO_ID,
    ),
    "Neighbours": _object(
        "The nearest logos.",
        results=_ROWS,
        count={**_NUMBER_OF_LOGOS, "description": "How many they are.", "maximum": MAX_COUNT},
    ),
    "Batch": _object(
        "The nearest logos to each of several.",
        results={
            "description": "By the id that was asked for, in that order; those that are unknown are left out.",
            "type": "object",
            "additionalProperties": _ROWS,
        },
        count={**_NUMBER_OF_LOGOS, "description": "Of how many logos the neighbours are answered."},
    ),
    "Added": _object("Logos were stored.", added={**_NUMBER_OF_LOGOS, "description": "How many of them were new."}),
    "Deleted": _object("A logo was forgotten.", deleted={"type": "integer", "const": 1}),
    "Count": _object("How many logos are stored.", count=_NUMBER_OF_LOGOS),
    "Stored": _object(
        "Which logos are stored.",
        stored={"description": "In the order they were stored.", "type": "array", "items": LOGO_ID},
    ),
    "Status": _object(
        "How an index is.",
        index={"description": "Its name.", "type": "string"},
        generation=_or_null({"description": "Which one is served; null before the first.", "type": "string"}),
        built_at=_or_null({"type": "string", "format": "date-time"}),
        age_seconds=_or_null({"type": "number"}),
        logos_indexed=_NUMBER_OF_LOGOS,
        logos_stored=_NUMBER_OF_LOGOS,
        logos_waiting={**_NUMBER_OF_LOGOS, "description": "Stored, but not in this index yet."},
        recall=_or_null(
            _object(
                "What share of the true nearest logos it finds, as measured when it was built.",
                at_10=_SHARE,
                at_100=_SHARE,
            )
        ),
        error=_or_null({"description": "Why its newest files are not served.", "type": "string"}),
        map_points={"description": "How many logos its map shows; 0 if it has none.", "type": "integer", "minimum": 0},
        indexes={"description": "The names of all indexes.", "type": "array", "items": {"type": "string"}},
        model={"description": "What makes the vectors.", "type": "string"},
        distances=_or_null(
            _object(
                "What distances mean, as measured on rendered logos: 1 in 100 pairs of different logos are below"
                " `alike`, 5 in 100 pairs of crops of one logo above `different`.",
                alike={"type": "number"},
                different={"type": "number"},
            )
        ),
        keeps_provenance={"description": "Whether the store keeps where logos were seen.", "type": "boolean"},
    ),
    "Map": _object(
        "A map of an index: the place of each logo in the plane.",
        generation={"description": "Of the index.", "type": "string"},
        logo_ids={"type": "array", "items": LOGO_ID},
        x=_COORDINATES,
        y=_COORDINATES,
    ),
    "Provenance": _object(
        "Where logos were seen.",
        provenance={
            "description": "By the id of the logo.",
            "type": "object",
            "additionalProperties": _object(
                "A photo, and where on it the logo is.",
                image_url={"description": "As it was added.", "type": "string"},
                bounding_box=BOUNDING_BOX,
                orientation={
                    "description": "Exif's orientation of the photo, by which browsers turn it; boxes are of the photo "
                    "as it is stored. null: not known.",
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "maximum": 8,
                },
            ),
        },
        count={**_NUMBER_OF_LOGOS, "description": "Of how many logos it is known."},
    ),
    "Liveness": _object("The process answers.", status={"type": "string", "const": "alive"}),
    "Readiness": _object(
        "Whether queries would be answered.",
        status={"type": "string", "enum": ["ready", "not ready"]},
        checks=_object("What was looked at.", store=_CHECK, index=_CHECK, model=_CHECK),
    ),
    "Health": _object(
        "Whether all is well.",
        hostname={"type": "string"},
        status={"type": "string", "enum": ["success", "failure"]},
        timestamp=_EPOCH_SECONDS,
        results={
            "type": "array",
            "items": _object(
                "What was looked at.",
                checker={"type": "string"},
                output={"type": "string"},
                passed={"type": "boolean"},
                timestamp=_EPOCH_SECONDS,
                expires=_EPOCH_SECONDS,
                response_time={"description": "Seconds.", "type": "number", "minimum": 0},
            ),
        },
    ),
}
