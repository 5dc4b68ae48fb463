"""The access log: one line for each answered request.

The line shows the values of known query parameters only: an unknown one may be a secret that was meant for another
service. It shows nothing of the body.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from runtime.logs import escaped

logger = logging.getLogger("access")

_KNOWN = frozenset({"count", "index", "logo_ids", "bounding_box", "exclude_self", "partial"})
_MAX_TARGET, _MAX_AGENT = 500, 200  # characters
_AUTHORITY = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")  # of an absolute target; it may contain a password


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered request.

    Attributes:
        method: as the client wrote it, or `-` if none was received.
        target: path and query as the client wrote them, or `-`.
        route: the route template of the path, or `unmatched`.
        status: the HTTP status.
        size: length of the answer's body in bytes; `None` if it had no `Content-Length`.
        seconds: the time that the answer took.
        client: the client's address.
        agent: the client's `User-Agent`.
    """

    method: str
    target: str
    route: str
    status: int
    size: int | None
    seconds: float
    client: str
    agent: str = ""

    def log(self) -> None:
        """Log the line."""
        if not logger.isEnabledFor(logging.INFO):
            return
        target, agent = shown_target(self.target), escaped(self.agent[:_MAX_AGENT])
        fields: dict[str, Any] = {
            "method": escaped(self.method[:20]),
            "target": target,
            "route": self.route,
            "status": self.status,
            "bytes": self.size,
            "ms": round(1000 * self.seconds, 2),
            "client": self.client,
            "user_agent": agent,
        }
        logger.info(
            '"%s %s" %d %s bytes %.1f ms %s "%s"',
            fields["method"],
            target,
            self.status,
            "-" if self.size is None else self.size,
            1000 * self.seconds,
            self.client,
            agent.replace('"', "'"),
            extra={"fields": fields},
        )


def shown_target(target: str) -> str:
    """Return path and query without the values of unknown parameters, shortened and escaped."""
    path, mark, query = _AUTHORITY.sub("", target).partition("?")
    shown = path + mark + shown_query(query)
    shown = shown if len(shown) <= _MAX_TARGET else f"{shown[:_MAX_TARGET]}..."
    return escaped(shown).replace('"', "%22")


def shown_query(query: str) -> str:
    """Return a query without the values of unknown parameters."""
    return "&".join(map(_shown_parameter, query.split("&")))


def _shown_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return parameter if not equals or name in _KNOWN else f"{name}=..."
