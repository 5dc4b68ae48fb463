"""Read the query parameters that several routes share."""

from __future__ import annotations

import math

import falcon

from api.journeys.neighbour_search import NeighbourSearch
from api.routes import schemas
from embeddings.attributes.filters import parse_where
from embeddings.images.decode import BoundingBox

DEFAULT_COUNT = 100
WHOLE_IMAGE: BoundingBox = (0.0, 0.0, 1.0, 1.0)


def count_of(req: falcon.Request, *, default: int = DEFAULT_COUNT) -> int:
    """Return `count`, the number of neighbours to return.

    Raises:
        falcon.HTTPBadRequest: it is not a whole number from 1 to `MAX_COUNT`.
    """
    return req.get_param_as_int("count", min_value=1, max_value=schemas.MAX_COUNT, default=default)


def index_of(req: falcon.Request, *, blank_is_default: bool = False) -> str | None:
    """Return the name of the index to search; `None` is the default one.

    Args:
        req: the request.
        blank_is_default: whether `index=` names the default index. The routes of the original take it for an unknown
            index, as recorded.
    """
    name = req.get_param("index")
    return None if blank_is_default and not name else name


def excludes_self(req: falcon.Request) -> bool:
    """Return whether a logo is to be left out of its own neighbours.

    Raises:
        falcon.HTTPBadRequest: `exclude_self` is neither `true` nor `false`.
    """
    return _switch(req, "exclude_self")


def is_partial(req: falcon.Request) -> bool:
    """Return whether the good logos of an addition are to be stored if others are rejected.

    Raises:
        falcon.HTTPBadRequest: `partial` is neither `true` nor `false`.
    """
    return _switch(req, "partial")


def is_replacing(req: falcon.Request) -> bool:
    """Return whether logos that are stored get what is sent of them.

    Raises:
        falcon.HTTPBadRequest: `replace` is neither `true` nor `false`.
    """
    return _switch(req, "replace")


def logo_ids_of(req: falcon.Request, max_logos: int) -> list[int]:
    """Return the ids in `logo_ids`, in order.

    Raises:
        falcon.HTTPBadRequest: there are none, there are more than `max_logos`, or one is not a whole number.
    """
    texts = _values(req, "logo_ids", required=True)
    if len(texts) > max_logos:
        raise falcon.HTTPInvalidParam(f"It names {len(texts)} logos; {max_logos} are allowed.", "logo_ids")
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise falcon.HTTPInvalidParam("It takes whole numbers, separated by commas.", "logo_ids") from None


def narrowed(req: falcon.Request, search: NeighbourSearch, more: str = "") -> NeighbourSearch:
    """Return a search of the logos that `where` names, as far as `max_distance` says.

    Args:
        req: the request.
        search: of all logos.
        more: conditions beside those of `where`.

    Raises:
        FilterError: `where` cannot be parsed.
        falcon.HTTPBadRequest: `max_distance` is no number, or below 0.
    """
    where = ",".join(filter(None, [*req.get_param_as_list("where", default=[]), more]))
    max_distance = req.get_param_as_float("max_distance", min_value=0.0)
    if max_distance is not None and not math.isfinite(max_distance):
        raise falcon.HTTPInvalidParam("It takes a number.", "max_distance")
    is_filter = req.has_param("where") or more
    return search.narrowed(parse_where(where, limits=search.limits) if is_filter else (), max_distance)


def bounding_box_of(req: falcon.Request) -> BoundingBox:
    """Return `bounding_box`, or the box of the whole image if there is none.

    Raises:
        falcon.HTTPBadRequest: it is not four numbers.
    """
    texts = _values(req, "bounding_box", required=False)
    if not texts:
        return WHOLE_IMAGE
    try:
        y_min, x_min, y_max, x_max = map(float, texts)
    except ValueError:
        text = "It takes four numbers, separated by commas: y_min,x_min,y_max,x_max, in fractions of height and width."
        raise falcon.HTTPInvalidParam(text, "bounding_box") from None
    return y_min, x_min, y_max, x_max


def _switch(req: falcon.Request, name: str) -> bool:
    text = req.get_param(name, default="false")
    if text not in ("true", "false"):
        raise falcon.HTTPInvalidParam("It takes true or false.", name)
    return text == "true"


def _values(req: falcon.Request, name: str, *, required: bool) -> list[str]:
    values = req.get_param_as_list(name, required=required)
    # Split at encoded commas too, because HTTP libraries encode them.
    return ",".join(values).split(",") if values else []
