"""Errors that the worker sends without the app, to requests that are invalid, incomplete or too many.

Their bodies have the same form as the errors of the app.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from gunicorn.http.errors import ConfigurationProblem, LimitRequestHeaders

from runtime.request_id import HEADER

SECONDS_UNTIL_RETRY = 1  # the least `Retry-After` of a 503
MOST_HEADERS = 100
MOST_HEADER_BYTES = 8190  # of each; a browser also sends the cookies of other services on the host
_MAX_DESCRIPTION = 200  # characters; a description may quote the request
_INSTEAD = "To search for many logos, send their ids in a POST to /api/v1/ann/batch."
_MAX_QUOTED = 40  # characters of the request that an error may quote


class Observer(Protocol):
    """The `observer` of an app, to which the worker reports what the app does not see."""

    def refused(self, first_line: str, status: int, size: int, seconds: float, client: str) -> None:
        """Count and log an answer that the worker sent without the app."""

    def holds(self, connections: int, held_bytes: int) -> None:
        """Record the open connections and the buffered bytes of the worker; called several times a second."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that the worker sends; it then closes the connection."""

    status: HTTPStatus
    title: str
    description: str

    @classmethod
    def of_exception(cls, status: int, error: Exception) -> Refusal:
        """Return the refusal for an error of gunicorn's parser, or of the app."""
        if isinstance(error, ConfigurationProblem):
            text = "The path does not begin with SCRIPT_NAME, below which the service is mounted."
            return cls(HTTPStatus.NOT_FOUND, "not found", text)
        if isinstance(error, LimitRequestHeaders):
            text = f"A request may have {MOST_HEADERS} headers, each of {MOST_HEADER_BYTES} bytes."
            return cls(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many or too large headers", text)
        known = HTTPStatus(status)
        if known == HTTPStatus.REQUEST_URI_TOO_LONG:
            return cls(known, known.phrase.lower(), f"{error}. {_INSTEAD}")
        says = known < HTTPStatus.INTERNAL_SERVER_ERROR or known == HTTPStatus.NOT_IMPLEMENTED
        return cls(known, known.phrase.lower(), str(error)[:_MAX_DESCRIPTION] if says else "The log says more.")

    @property
    def body(self) -> bytes:
        """The JSON body."""
        # The description may quote bytes that are not UTF-8, as lone surrogates.
        description = self.description.encode(errors="replace").decode()
        return orjson.dumps({"title": self.title, "description": description})

    def answer(self, request_id: str) -> bytes:
        """Return the whole answer, head and body."""
        head = [
            f"HTTP/1.1 {self.status} {self.status.phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
            "Access-Control-Allow-Origin: *",  # as in all answers, so that pages of other origins can read the error
            f"{HEADER}: {request_id}",
        ]
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            head.append(f"Retry-After: {SECONDS_UNTIL_RETRY}")
        return "\r\n".join([*head, "", ""]).encode() + self.body


def refuse_outside(req: Any) -> None:
    """Refuse a request whose path is not below SCRIPT_NAME, from the environment or a trusted proxy.

    gunicorn compares the first letters only: `/logosapi/v1/ann` passes as a path below `/logos`.

    Raises:
        ConfigurationProblem: it is not.
    """
    named = [value for name, value in req.headers if name == "SCRIPT_NAME"] or [os.environ.get("SCRIPT_NAME", "")]
    prefix = named[-1].rstrip("/")
    if prefix and req.path != prefix and not req.path.startswith(f"{prefix}/"):
        raise ConfigurationProblem(f"{req.path!r} is not below {prefix!r}")


def quote_little(error: Exception) -> None:
    """Shorten what an error of gunicorn's parser quotes: it may be the rest of a body, or a secret."""
    for name, value in vars(error).items():
        if isinstance(value, str) and len(value) > _MAX_QUOTED:
            setattr(error, name, f"{value[:_MAX_QUOTED]}...")


class Page:
    """Receives gunicorn's own error page in place of the client's socket, to read its status."""

    def __init__(self) -> None:
        self._content = b""

    @property
    def status(self) -> int:
        """The HTTP status of the page."""
        return int(self._content.split(b" ", 2)[1])

    def gettimeout(self) -> float:
        """Return 0: writing never waits."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Keep the data."""
        self._content += data
