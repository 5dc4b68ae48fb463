"""Observe every request: give it an id, count it, and log a line.

An answer is counted before it is sent, so a client that has received it will find it in the metrics. The worker reports
the answers that it sends without the app, to incomplete or invalid requests.

Counting and logging take about 40 µs a request, and 10 µs more for each stage; a query takes a few milliseconds.
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
    """Falcon middleware that stores the route of a request in its WSGI environment."""

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: object, params: Any) -> None:
        """Store the route template."""
        req.env[_ROUTE] = req.uri_template


@dataclass(frozen=True, slots=True)
class RequestObserver:
    """Observes every request of an app.

    Attributes:
        metrics: the counters.
        route_of: returns the route template of a path, or `None`.
    """

    metrics: Metrics
    route_of: Callable[[str], str | None]

    def observe(self, environ: dict[str, Any], start_response: StartResponse, app: WsgiApp) -> Iterable[bytes]:
        """Call an app with a request, and observe the answer."""
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
        """Count and log an answer that the worker sent without the app.

        Args:
            first_line: the first line of the request, as far as it was received.
            status: the status of the answer.
            size: the length of its body, in bytes.
            seconds: the time since the request began.
            client: the client's address.
        """
        line = _FIRST_LINE.match(first_line)
        method, target = line.groups() if line else ("-", "-")
        self._answered(Answer(method, target, UNMATCHED, status, size, seconds, client), is_timed=False)

    def holds(self, connections: int, held_bytes: int) -> None:
        """Set the gauges of this worker: open connections and buffered bytes."""
        self.metrics.set_load(connections, held_bytes)

    def _answered(self, answer: Answer, *, is_timed: bool = True) -> None:
        self.metrics.count_request(answer.method, answer.route, answer.status, answer.seconds if is_timed else None)
        answer.log()

    def _route(self, environ: dict[str, Any]) -> str:
        template = environ.get(_ROUTE) or self.route_of(environ["PATH_INFO"])
        return UNMATCHED if template is None else _label(template)


def _target(environ: dict[str, Any]) -> str:
    path: str = environ.get("RAW_URI", environ["PATH_INFO"]).partition("?")[0]  # RAW_URI is as sent
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


@functools.cache
def _label(template: str) -> str:
    """Return a template without converters, as the API document has it: `/{logo_id:int}` becomes `/{logo_id}`."""
    return re.sub(r":[^{}]*\}", "}", template)


@functools.cache
def _variable(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"
