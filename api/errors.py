"""How the errors of the rooms become HTTP errors: `MAPPING` is all of it.

Every error is answered as Falcon's `{"title": ..., "description": ...}`. What the client can change is a 400. What only
the operator can change, or passes, is a 5xx, and is logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, NoReturn

import falcon

from api.server.refusal import SECONDS_UNTIL_RETRY
from embeddings.errors import (
    AttributeValueError,
    DamagedAttributesError,
    EmbeddingsError,
    ExhaustedError,
    FilterError,
    HostBusyError,
    ImageError,
    StoreFullError,
    StoreLayoutError,
    StoreModelError,
    StoreUnavailableError,
)
from index.errors import DimensionError, IndexUnavailableError, SearchError, UnknownIndexError, UnusableVectorError

logger = logging.getLogger(__name__)


class TooManyWritesError(Exception):
    """As many adds and deletions as this process takes at once are under way."""


# The error of a room, the HTTP error it is answered with, and the title; no title: the error's own words.
MAPPING: tuple[tuple[type[Exception], Callable[..., falcon.HTTPError], str | None], ...] = (
    (HostBusyError, falcon.HTTPServiceUnavailable, "image host busy"),
    (ImageError, falcon.HTTPBadRequest, "invalid image"),
    (DimensionError, falcon.HTTPBadRequest, "invalid dimension"),
    (UnusableVectorError, falcon.HTTPBadRequest, "invalid embedding"),
    (AttributeValueError, falcon.HTTPBadRequest, "invalid attribute"),
    (FilterError, falcon.HTTPBadRequest, "invalid filter"),
    (UnknownIndexError, falcon.HTTPBadRequest, None),
    (TooManyWritesError, falcon.HTTPServiceUnavailable, "too many changes at once"),
    (ExhaustedError, falcon.HTTPServiceUnavailable, "too busy"),
    (IndexUnavailableError, falcon.HTTPServiceUnavailable, "index unavailable"),
    (StoreUnavailableError, falcon.HTTPServiceUnavailable, "store unavailable"),
    (StoreLayoutError, falcon.HTTPServiceUnavailable, "store unavailable"),  # another file was put in its place
    (StoreModelError, falcon.HTTPServiceUnavailable, "store unavailable"),
    (StoreFullError, falcon.HTTPInsufficientStorage, "store full"),
    (DamagedAttributesError, falcon.HTTPInternalServerError, "attributes damaged"),
    (EmbeddingsError, falcon.HTTPInternalServerError, "internal error"),
    (SearchError, falcon.HTTPInternalServerError, "internal error"),
)
_SECONDS_UNTIL_HOST_RETRY = 10  # of an image's host that does not say how long it wants to be left alone
_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^\s/]+/)+")


def without_folders(text: str) -> str:
    """Leave out of a message in which folders of the server the files lie: they are nothing to clients."""
    return _FOLDERS.sub("", text)


def register(app: falcon.App[Any, Any]) -> None:
    """Teach an app the mapping."""
    app.add_error_handler(Exception, _unexpected)
    for error, _, _ in MAPPING:
        app.add_error_handler(error, _expected)


def _expected(req: falcon.Request, resp: falcon.Response, ex: Exception, params: Any) -> NoReturn:
    answer, title = next((answer, title) for error, answer, title in MAPPING if isinstance(ex, error))
    headers = {"Retry-After": str(_seconds_until_retry(ex))} if answer is falcon.HTTPServiceUnavailable else None
    http_error = answer(title=title or str(ex), description=str(ex), headers=headers)
    if isinstance(ex, HostBusyError):
        logger.warning("%s %s: %s", req.method, req.path, ex)
    elif http_error.status_code >= 500:
        cause = None if isinstance(ex.__cause__, OSError) else ex.__cause__  # its reason is in the message
        logger.error("%s %s: %s", req.method, req.path, ex, exc_info=cause)
        http_error.description = without_folders(str(ex))
    raise http_error from ex


def _seconds_until_retry(error: Exception) -> int:
    if not isinstance(error, HostBusyError):
        return SECONDS_UNTIL_RETRY
    told = error.retry_after
    return _SECONDS_UNTIL_HOST_RETRY if told is None else max(told, SECONDS_UNTIL_RETRY)


def _unexpected(req: falcon.Request, resp: falcon.Response, ex: Exception, params: Any) -> NoReturn:
    logger.error("%s %s failed", req.method, req.path, exc_info=ex)
    raise falcon.HTTPInternalServerError(title="internal error", description="The log says more.") from ex
