"""The validation of JSON bodies by the schemas of `api/openapi.yaml`.

As in JSON Schema, a whole number counts as an integer even if it is written `900017.0`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import falcon
import jsonschema_rs

from api import openapi

MAX_COUNT = 500
_INEXACT_FLOATS = range(2**53, 2**63)  # a JSON number read as such a 64-bit float may be another id than was written


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


def check_logos(logos: Sequence[object], max_logos: int) -> None:
    """Limit the number of logos in a body.

    Raises:
        falcon.HTTPBadRequest: there are more than `max_logos`.
    """
    if len(logos) > max_logos:
        description = f"The request names {len(logos)} logos; {max_logos} are allowed."
        raise falcon.HTTPBadRequest(title="too many logos", description=description)


def logo_ids_in(body: Mapping[str, Any], max_logos: int) -> list[int]:
    """Return the `logo_ids` of a body, which the schema has checked.

    Raises:
        falcon.HTTPBadRequest: there are more than `max_logos`, or one cannot be told exactly.
    """
    check_logos(body["logo_ids"], max_logos)
    return [whole_id(number, f".logo_ids[{position}]") for position, number in enumerate(body["logo_ids"])]


def whole_id(number: float, place: str) -> int:
    """Return a logo id of a body, which the schema has checked.

    Args:
        number: the id; `900017.0` is one.
        place: where it is in the body.

    Raises:
        falcon.MediaValidationError: the id is written so that it may have lost digits.
    """
    logo_id = int(number)
    if isinstance(number, float) and logo_id in _INEXACT_FLOATS:
        description = f"body{place}: write an id of this size without a decimal point or exponent"
        raise falcon.MediaValidationError(title="invalid request", description=description)
    return logo_id
