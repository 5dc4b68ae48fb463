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
_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^\s/]+/)+")


def without_folders(text: str) -> str:
    """Return a message with file names instead of paths, because clients need not know the folders of the server."""
    return _FOLDERS.sub("", text)


def register(app: falcon.App[Any, Any]) -> None:
    """Register the mapping with an app."""
    app.add_error_handler(Exception, _unexpected)
    for error, _, _ in MAPPING:
        app.add_error_handler(error, _expected)


def _expected(req: falcon.Request, resp: falcon.Response, ex: Exception, params: Any) -> NoReturn:
    answer, title = next((answer, title) for error, answer, title in MAPPING if isinstance(ex, error))
    headers = {"Retry-After": str(SECONDS_UNTIL_RETRY)} if answer is falcon.HTTPServiceUnavailable else None
    http_error = answer(title=title or str(ex), description=str(ex), headers=headers)
    if http_error.status_code >= 500:
        # The message already contains the reason of an OSError.
        cause = None if isinstance(ex.__cause__, OSError) else ex.__cause__
        logger.error("%s %s: %s", req.method, req.path, ex, exc_info=cause)
        http_error.description = without_folders(str(ex))
    raise http_error from ex


def _unexpected(req: falcon.Request, resp: falcon.Response, ex: Exception, params: Any) -> NoReturn:
    logger.error("%s %s failed", req.method, req.path, exc_info=ex)
    raise falcon.HTTPInternalServerError(title="internal error", description="The log says more.") from ex
