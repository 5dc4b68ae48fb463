"""What schemathesis must know of the service: which refusals no schema can foresee, and what a good request looks like.

It is loaded by schemathesis itself, in a process of its own. `TOUR_PHOTOS` is the address of the photos, and into the
file `TOUR_ANSWERS` goes a line for each answer: the operation, and the status.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.core.failures import Failure

from embeddings.images.decode import FORMATS

ANSWERS = Path(os.environ["TOUR_ANSWERS"])
PHOTOS = "photos:"  # stands in the configuration for their address
KEPT = {"1003", "1004", "1005"}
DELETED = "1004"  # by the document's example
# What a schema cannot say of a good request: whether there is such an index, whether an image has the box, and how
# filters and attributes are written.
UNFORESEEN = ("unknown index: ", "invalid image", "invalid embedding", "invalid filter", "invalid attribute")


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Keep a failure unless it is a refusal that no schema can foresee."""
    if failure.title not in ("Schema-valid request rejected", "Schema-violating request accepted"):
        return True
    if response.status_code == 414:  # which is documented: an address has room for about 700 ids of 1000 allowed
        return False
    if (case.query or {}).get("logo_ids") == []:  # from an answer without logos: no address can say it
        return False
    return not (response.status_code == 400 and response.json()["title"].startswith(UNFORESEEN))


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave the logos of the tour where they are, for others to find; a link deletes what its add named."""
    named = [logo.get("id") for logo in _logos(case.body) if isinstance(logo, dict) and case.method == "POST"]
    if case.method == "DELETE":
        named = [(case.path_parameters or {}).get("logo_id")]
    if case.operation.path.endswith("/delete") and isinstance(case.body, dict):
        named = _list(case.body.get("logo_ids"))
    return not any(str(logo_id).removesuffix(".0") in KEPT for logo_id in named)  # `1003.0` is an id, too


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Delete no other logo of the tour than the document's example does: examples and links are not filtered."""
    if case.method == "DELETE" and str(case.path_parameters.get("logo_id")) in KEPT - {DELETED}:
        case.path_parameters["logo_id"] = "7"
    if case.operation.path.endswith("/delete") and isinstance(case.body, dict):  # a link names what was found
        named = _list(case.body.get("logo_ids"))
        if any(str(logo_id).removesuffix(".0") in KEPT - {DELETED} for logo_id in named):
            case.body["logo_ids"] = [7]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Note what was answered."""
    with ANSWERS.open("a") as answers:
        answers.write(f"{case.method} {case.operation.path} {response.status_code}\n")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Put most adds right: at random, no box is one, and no vector has the right length."""
    if isinstance(body, dict) and str(body.get("image_url")).startswith(PHOTOS):
        body["image_url"] = os.environ["TOUR_PHOTOS"].rstrip("/") + body["image_url"].removeprefix(PHOTOS)
    for logo in [body, *_logos(body)]:
        if isinstance(logo, dict) and _is_box(logo.get("bounding_box")):
            logo["bounding_box"] = [0.1, 0.2, 0.8, 0.9]
        if isinstance(logo, dict) and _is_vector(logo.get("embedding")):
            logo["embedding"] = [0.25] * 1280
    return body


@schemathesis.hook
def before_generate_body(context: Any, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw vectors of few different values: of so many, few whole ones are drawn."""
    if context.operation.path.endswith("/from_embedding"):
        values = st.lists(st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9), min_size=1, max_size=3)
        bodies = st.fixed_dictionaries(
            {"embedding": values.map(lambda some: (some * 1280)[:1280])}, optional={"count": st.integers(1, 500)}
        )
        return strategy | bodies
    return strategy


def _logos(body: Any) -> list[Any]:
    return _list(body.get("logos") if isinstance(body, dict) else None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(edge, (int, float)) for edge in value)


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) in (int, float) for number in value)


def _file(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (200, 30, 30)).save(buffer, image_format)
    return buffer.getvalue()


for _format in FORMATS:
    schemathesis.openapi.media_type(f"image/{_format.lower()}", st.just(_file(_format)) | st.binary(max_size=64))
