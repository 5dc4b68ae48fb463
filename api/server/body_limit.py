"""Refuses request bodies that are too large, or of a length not told, before they are read."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from api.server.body_sizes import BodySizes


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Falcon middleware that holds `Content-Length` to the limit of the request's path."""

    sizes: BodySizes

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Let the request through, or answer 411 or 413.

        Raises:
            falcon.HTTPLengthRequired: a chunked body.
            falcon.HTTPContentTooLarge: a body over the limit.
        """
        if req.content_length is None:
            if req.get_header("Transfer-Encoding"):
                raise falcon.HTTPLengthRequired(
                    title="length required", description="Send the body with a Content-Length, not in chunks."
                )
        elif req.content_length > (allowed := self.sizes.of(req.path)):
            raise falcon.HTTPContentTooLarge(
                title="body too large",
                description=f"The body has {req.content_length} bytes; {allowed} are allowed.",
            )
