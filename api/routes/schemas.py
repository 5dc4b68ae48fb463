"""The validation of JSON bodies by the schemas of `api/openapi.yaml`.

As in JSON Schema, a whole number counts as an integer even if it is written `900017.0`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import falcon
import jsonschema_rs

from api import openapi

MAX_COUNT = 500


@cache
def validator(name: str, *, without: str | None = None) -> jsonschema_rs.Draft202012Validator:
    """Return the validator of a schema of the document.

    Args:
        name: the name of the schema among the document's components.
        without: a property that the validator ignores, because a route checks it later.
    """
    schemas = openapi.load()["components"]["schemas"]
    schema = dict(schemas[name])
    if without is not None:
        schema["properties"] = {key: value for key, value in schema["properties"].items() if key != without}
    return jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": schemas}})


def check(name: str, body: Any, *, without: str | None = None) -> None:
    """Validate a body by a schema of the document; see `validator`.

    Raises:
        falcon.MediaValidationError: the body is invalid: a 400 that says where and how.
    """
    try:
        error = next(validator(name, without=without).iter_errors(body), None)
    except ValueError as too_deep:
        description = f"body: it is nested too deeply ({too_deep})"
        raise falcon.MediaValidationError(title="invalid request", description=description) from too_deep
    if error is None:
        return
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    message = error.message if len(error.message) <= 200 else f"…{error.message[-200:]}"
    raise falcon.MediaValidationError(title="invalid request", description=f"body{place}: {message}")
