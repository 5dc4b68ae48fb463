"""What requests must look like, as JSON Schema (draft 2020-12), and the check of their bodies against it.

The OpenAPI document shows these very schemas. A number that is whole counts as an integer (`900017.0` is one), as JSON
Schema says.
"""

from __future__ import annotations

from typing import Any

import falcon
import jsonschema_rs

Schema = dict[str, Any]

MAX_LOGO_ID = 2**63 - 1
MAX_COUNT = 500

LOGO_ID: Schema = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_LOGO_ID}
COUNT_VALUE: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT}
BOUNDING_BOX: Schema = {
    "description": "`[y_min, x_min, y_max, x_max]`, in fractions of the image's height and width.",
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
}
ADD_BODY: Schema = {
    "type": "object",
    "required": ["image_url", "logos"],
    "properties": {
        "image_url": {"description": "Where the image is fetched from.", "type": "string"},
        "logos": {
            "description": "The logos on it.",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "bounding_box"],
                "properties": {"id": LOGO_ID, "bounding_box": BOUNDING_BOX},
            },
        },
    },
}
FROM_EMBEDDING_BODY: Schema = {
    "type": "object",
    "required": ["embedding"],
    "properties": {"embedding": {"description": "A vector.", "type": "array", "items": {"type": "number"}}},
}

ADD = jsonschema_rs.Draft202012Validator(ADD_BODY)
FROM_EMBEDDING = jsonschema_rs.Draft202012Validator(FROM_EMBEDDING_BODY)
COUNT = jsonschema_rs.Draft202012Validator(COUNT_VALUE)


def check(validator: jsonschema_rs.Draft202012Validator, body: Any) -> None:
    """Hold a body to its schema.

    Raises:
        falcon.MediaValidationError: a 400 that says where the body differs and how.
    """
    try:
        error = next(validator.iter_errors(body), None)
    except ValueError as too_deep:
        description = f"body: it is nested too deeply ({too_deep})"
        raise falcon.MediaValidationError(title="invalid request", description=description) from too_deep
    if error is None:
        return
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    message = error.message if len(error.message) <= 200 else f"…{error.message[-200:]}"
    raise falcon.MediaValidationError(title="invalid request", description=f"body{place}: {message}")
