"""The mapping of the rooms' errors to HTTP errors: all of it is in `MAPPING`.

The body of every error is Falcon's `{"title": ..., "description": ...}`. An error that the client can correct is a 4xx.
An error that only the operator can correct is a 5xx, and is logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, NoReturn

import falcon

from api.server.refusal import SECONDS_UNTIL_RETRY
from embeddings.errors import (
    EmbeddingsError,
    ExhaustedError,
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
    """This process is already handling as many adds, deletions and queries by image as it may."""


# The error of a room, the HTTP error, and its title. Without a title, the message of the error is the title.
MAPPING: tuple[tuple[type[Exception], Callable[..., falcon.HTTPError], str | None], ...] = (
    (HostBusyError, falcon.HTTPServiceUnavailable, "image host busy"),
    (ImageError, falcon.HTTPBadRequest, "invalid image"),
    (DimensionError, falcon.HTTPBadRequest, "invalid dimension"),
    (UnusableVectorError, falcon.HTTPBadRequest, "invalid embedding"),
    (UnknownIndexError, falcon.HTTPBadRequest, None),
    (TooManyWritesError, falcon.HTTPServiceUnavailable, "too many changes at once"),
    (ExhaustedError, falcon.HTTPServiceUnavailable, "too busy"),
    (IndexUnavailableError, falcon.HTTPServiceUnavailable, "index unavailable"),
    (StoreUnavailableError, falcon.HTTPServiceUnavailable, "store unavailable"),
    (StoreLayoutError, falcon.HTTPServiceUnavailable, "store unavailable"),  # another file has replaced it
    (StoreModelError, falcon.HTTPServiceUnavailable, "store unavailable"),
    (StoreFullError, falcon.HTTPInsufficientStorage, "store full"),
    (EmbeddingsError, falcon.HTTPInternalServerError, "internal error"),
    (SearchError, falcon.HTTPInternalServerError, "internal error"),
)
_SECONDS_UNTIL_HOST_RETRY = 10  # of an image's host that does not say how long it wants to be left alone
_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^\s/]+/)+")


def without_folders(text: str) -> str:
    """Return a message with file names instead of paths, because clients need not know the folders of the server."""
    return _FOLDERS.sub("", text)


def register(app: falcon.App[Any, Any]) -> None:
    """Register the mapping with an app."""
    app.add_error_handler(Exception, _unexpected)
    for error, _, _ in MAPPING:
        app.add_error_handler(error, _expected)


def wording_of(error: Exception) -> dict[str, str]:
    """Return the title and the description of an error of the rooms, as a client reads them."""
    return {"title": _mapped(error)[1] or str(error), "description": str(error)}


def _mapped(error: Exception) -> tuple[Callable[..., falcon.HTTPError], str | None]:
    return next((answer, title) for kind, answer, title in MAPPING if isinstance(error, kind))


def _expected(req: falcon.Request, resp: falcon.Response, ex: Exception, params: Any) -> NoReturn:
    answer, _ = _mapped(ex)
    headers = {"Retry-After": str(_seconds_until_retry(ex))} if answer is falcon.HTTPServiceUnavailable else None
    http_error = answer(**wording_of(ex), headers=headers)
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
