"""Answers that no app gives, since what came is no request, not whole, or one too many: errors in the one envelope."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import orjson
from gunicorn.http.errors import ConfigurationProblem, LimitRequestHeaders

from runtime.request_id import HEADER

SECONDS_UNTIL_RETRY = 1  # of what cannot be answered for now
MOST_HEADERS = 100
MOST_HEADER_BYTES = 8190  # of each: room for a browser's cookies of other services on the host
_MAX_DESCRIPTION = 200  # characters: it may quote what came
_INSTEAD = "To search for many logos, send their ids in a POST to /api/v1/ann/batch."
_MAX_QUOTED = 40  # characters of what came that an error keeps


class Observer(Protocol):
    """What an app may have as its `observer`, for the worker to tell of what the app does not see."""

    def refused(self, first_line: str, status: int, size: int, seconds: float, client: str) -> None:
        """Take note of an answer that was given without the app."""

    def holds(self, connections: int, held_bytes: int) -> None:
        """Take note of what the worker holds now, a few times a second."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error; the connection is closed after it."""

    status: HTTPStatus
    title: str
    description: str

    @classmethod
    def of_exception(cls, status: int, error: Exception) -> Refusal:
        """Say what gunicorn's parser found wrong."""
        if isinstance(error, ConfigurationProblem):
            text = "The path does not begin with SCRIPT_NAME, below which the service is told to be."
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
        """The envelope."""
        # What a client sent need not be UTF-8: half a surrogate pair is none.
        description = self.description.encode(errors="replace").decode()
        return orjson.dumps({"title": self.title, "description": description})

    def answer(self, request_id: str) -> bytes:
        """Return head and body."""
        head = [
            f"HTTP/1.1 {self.status} {self.status.phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
            "Access-Control-Allow-Origin: *",  # as all other answers: pages elsewhere may read why
            f"{HEADER}: {request_id}",
        ]
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            head.append(f"Retry-After: {SECONDS_UNTIL_RETRY}")
        return "\r\n".join([*head, "", ""]).encode() + self.body


def quote_little(error: Exception) -> None:
    """Have an error of gunicorn's parser quote little of what came: that may be the rest of a body, or a secret."""
    for name, value in vars(error).items():
        if isinstance(value, str) and len(value) > _MAX_QUOTED:
            setattr(error, name, f"{value[:_MAX_QUOTED]}...")


class Page:
    """Stands in for a client's socket, for gunicorn to write its own page of an error to."""

    def __init__(self) -> None:
        self._content = b""

    @property
    def status(self) -> int:
        """The status of what was written."""
        return int(self._content.split(b" ", 2)[1])

    def gettimeout(self) -> float:
        """Say that nothing is waited for."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Take all of it."""
        self._content += data
