"""What becomes of every request: it gets an id, is counted, and the log gets a line of it.

An answer is counted before it is sent, so whoever has it finds it counted. Answers that no app gives, because what came
was no whole request, are told of by the worker.

Counts and line take about 40 µs of a request, and each stage 10 µs more, where a query takes some milliseconds.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import falcon

from api.telemetry.access_line import Answer
from api.telemetry.metrics import UNMATCHED, Metrics
from runtime import request_id

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_ROUTE = "robotoff_ann.route"  # in the WSGI environment
_FIRST_LINE = re.compile(r"([!-~]+) ([!-~]+)")


class RouteNote:
    """Falcon middleware that notes which route a request has."""

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: object, params: Any) -> None:
        """Note it."""
        req.env[_ROUTE] = req.uri_template


@dataclass(frozen=True, slots=True)
class RequestObserver:
    """Sees every request of an app.

    Attributes:
        metrics: where they are counted.
        route_of: answers the template of a path, or `None`.
    """

    metrics: Metrics
    route_of: Callable[[str], str | None]

    def observe(self, environ: dict[str, Any], start_response: StartResponse, app: WsgiApp) -> Iterable[bytes]:
        """Have an app answer a request."""
        began = time.perf_counter()
        named = request_id.begin(environ.get(_variable(request_id.HEADER)))
        status, size = 500, None

        def start(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status, size
            status = int(line[:3])
            size = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
            headers = [*headers, (request_id.HEADER, named)]
            return start_response(line, headers, exc_info) if exc_info else start_response(line, headers)

        body = app(environ, start)
        answer = Answer(
            environ["REQUEST_METHOD"],
            _target(environ),
            self._route(environ),
            status,
            size,
            time.perf_counter() - began,
            environ.get("REMOTE_ADDR") or "-",
            environ.get("HTTP_USER_AGENT", ""),
        )
        self._answered(answer)
        return body

    def refused(self, first_line: str, status: int, size: int, seconds: float, client: str) -> None:
        """Take note of an answer that was given without the app.

        Args:
            first_line: what came of the request's first line.
            status: of the answer.
            size: of its body, in bytes.
            seconds: since the request began.
            client: its address.
        """
        line = _FIRST_LINE.match(first_line)
        method, target = line.groups() if line else ("-", "-")
        self._answered(Answer(method, target, UNMATCHED, status, size, seconds, client), is_timed=False)

    def holds(self, connections: int, held_bytes: int) -> None:
        """Take note of what this worker holds now."""
        self.metrics.set_load(connections, held_bytes)

    def _answered(self, answer: Answer, *, is_timed: bool = True) -> None:
        self.metrics.count_request(answer.method, answer.route, answer.status, answer.seconds if is_timed else None)
        answer.log()

    def _route(self, environ: dict[str, Any]) -> str:
        template = environ.get(_ROUTE) or self.route_of(environ["PATH_INFO"])
        return UNMATCHED if template is None else _label(template)


def _target(environ: dict[str, Any]) -> str:
    path: str = environ.get("RAW_URI", environ["PATH_INFO"]).partition("?")[0]  # as it came, where the server says it
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


@functools.cache
def _label(template: str) -> str:
    """Write a template as the documents do: `/{logo_id:int}` is `/{logo_id}`."""
    return re.sub(r":[^{}]*\}", "}", template)


@functools.cache
def _variable(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"
