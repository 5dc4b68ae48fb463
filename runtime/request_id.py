"""The id of the request that a thread is answering, for its log lines.

A client may choose the id in `X-Request-ID`. If it is missing, too long or has other characters, a random one is used.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

HEADER = "X-Request-ID"

_FIT = re.compile(r"[A-Za-z0-9._~:+/=@-]{1,128}")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def begin(named: str | None = None) -> str:
    """Begin a request in this thread, until the next one or `end`, and return its id.

    Args:
        named: the id that the client chose, if any.
    """
    request_id = named if named is not None and _FIT.fullmatch(named) else secrets.token_hex(8)
    _current.set(request_id)
    return request_id


def end() -> None:
    """End the request of this thread."""
    _current.set(None)


def current() -> str | None:
    """Return the id of the request that this thread is answering, or `None`."""
    return _current.get()
