"""Tokens that requests must carry, where the operator sets some: one to read, one to write.

A route that changes something wants the write token, any other the read token. The write token also reads. Where only
the read token is set, it is wanted for both. Pages and health checks want none: they show nothing that is stored.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import Any

import falcon

from api.server.body_sizes import API, FROM_IMAGE, PREDICT

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)  # RFC 6750, section 2.1
_SEARCHES = frozenset({f"{API}/batch", f"{API}/from_embedding", FROM_IMAGE, PREDICT})  # by POST, too
_REALM = 'Bearer realm="robotoff-ann"'


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """Falcon middleware that lets only requests with the right token through.

    Attributes:
        write: the token that may do all; `None` if none is set.
        read: the token that may search and look up; `None` if none is set.
    """

    write: str | None = field(repr=False)
    read: str | None = field(repr=False)

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: object, params: Any) -> None:
        """Let the request through, or refuse it with a 401 before its body is read.

        Raises:
            falcon.HTTPUnauthorized: it carries no token, or not the one that is wanted.
        """
        template: str = req.uri_template or ""
        if req.method == "OPTIONS" or not (template.startswith(API) or template == "/metrics"):
            return
        wanted = self._wanted(is_search=req.method in ("GET", "HEAD") or template in _SEARCHES)
        if not wanted:
            return
        sent = _BEARER.fullmatch((req.get_header("Authorization") or "").strip())
        if sent is None:
            raise falcon.HTTPUnauthorized(
                title="token required",
                description="Send the token of this service as Authorization: Bearer TOKEN.",
                challenges=[_REALM],
            )
        # Each is compared, in constant time: how long it takes must not tell how much of a token is right.
        if not sum(hmac.compare_digest(sent[1].encode(), token.encode()) for token in wanted):
            raise falcon.HTTPUnauthorized(
                title="wrong token",
                description="The token is not one that this request needs.",
                challenges=[f'{_REALM}, error="invalid_token"'],
            )

    def _wanted(self, *, is_search: bool) -> list[str]:
        """Return the tokens of which one is needed; none if the request is open to everybody."""
        if is_search:
            return [token for token in (self.read, self.write) if token is not None] if self.read else []
        return [token for token in (self.write or self.read,) if token is not None]
