"""Which request a thread is answering, so that every line that it logs can say so.

A client may name its request in `X-Request-ID`; one that is missing, or not fit to be repeated, is made here.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

HEADER = "X-Request-ID"

_FIT = re.compile(r"[A-Za-z0-9._~:+/=@-]{1,128}")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def begin(named: str | None = None) -> str:
    """Begin a request in this thread, which lasts until the next one or `end`; return its id.

    Args:
        named: what the client calls it, if it does.
    """
    request_id = named if named is not None and _FIT.fullmatch(named) else secrets.token_hex(8)
    _current.set(request_id)
    return request_id


def end() -> None:
    """Say that this thread answers no request now."""
    _current.set(None)


def current() -> str | None:
    """Return the id of the request that this thread answers, if it does."""
    return _current.get()
