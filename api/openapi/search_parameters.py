"""The parameters that several operations under `/api/v1/ann` share."""

from __future__ import annotations

from api.openapi.operation import Parameter
from api.routes.parameters import DEFAULT_COUNT
from api.routes.schemas import COUNT_VALUE, LOGO_ID
from settings import Settings

COUNT_PARAMETER = Parameter(
    "count", "How many neighbours are wanted, at most.", {**COUNT_VALUE, "default": DEFAULT_COUNT}
)
LOGO_ID_PARAMETER = Parameter("logo_id", "The logo.", LOGO_ID, place="path")


def index_parameter(settings: Settings, what: str = "The index that is searched") -> Parameter:
    """Return the parameter that names an index."""
    default = settings.default_index
    return Parameter("index", f"{what}; without it, `{default}`.", {"type": "string", "default": default})


def logo_ids_parameter(settings: Settings) -> Parameter:
    """Return the parameter that names several logos."""
    most = settings.requests.max_batch_logos
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": most}
    return Parameter("logo_ids", f"The logos, at most {most}.", schema, required=True, is_list=True)
