"""Refuse request bodies that are too large, or have no `Content-Length`, before they are read."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from api.server.body_sizes import BodySizes


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Falcon middleware that compares `Content-Length` with the limit of the path."""

    sizes: BodySizes

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Pass the request on, or refuse it with 411 or 413.

        Raises:
            falcon.HTTPLengthRequired: the body is chunked.
            falcon.HTTPContentTooLarge: the body is over the limit.
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
