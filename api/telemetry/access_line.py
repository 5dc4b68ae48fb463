"""The line that the log gets for each answered request.

It names the parameters of the query, but the values of those alone that the service knows: others may be secrets that
were meant for somebody else. Nothing of a body is in it.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from runtime.logs import escaped

logger = logging.getLogger("access")

_KNOWN = frozenset({"count", "index", "logo_ids", "bounding_box"}) | {
    *("where", "max_distance", "attribute", "k", "threshold", "server_type"),
}
_MAX_TARGET, _MAX_AGENT = 500, 200  # characters
_AUTHORITY = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")  # of a target in absolute form; it may hold a password


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered request.

    Attributes:
        method: as the client wrote it, or `-` if nothing came.
        target: path and query, or `-`; see `shown_target`.
        route: the template of its path, or `unmatched`.
        status: HTTP's.
        size: bytes of the answer's body; `None` if it did not say them ahead.
        seconds: that the answer took.
        client: its address.
        agent: how the client calls itself.
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
        """Write the line."""
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
    """Write path and query without the values of parameters that the service does not know."""
    path, mark, query = _AUTHORITY.sub("", target).partition("?")
    shown = path + mark + shown_query(query)
    shown = shown if len(shown) <= _MAX_TARGET else f"{shown[:_MAX_TARGET]}..."
    return escaped(shown).replace('"', "%22")


def shown_query(query: str) -> str:
    """Write a query without the values of parameters that the service does not know."""
    return "&".join(map(_shown_parameter, query.split("&")))


def _shown_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return parameter if not equals or name in _KNOWN else f"{name}=..."
