"""Refuse request bodies that are too large, compressed, or of an unknown transfer coding, before they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass

import falcon

from api.server.body_sizes import BodySizes

_TYPE = re.compile(r"[^\s;,/]+/[^\s;,]+")


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Falcon middleware that compares `Content-Length` with the limit of the path."""

    sizes: BodySizes

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Pass the request on, or refuse it with 411, 413 or 415.

        Raises:
            falcon.HTTPLengthRequired: the body has a transfer coding beside `chunked`, which the worker takes off.
            falcon.HTTPContentTooLarge: a body over the limit.
            falcon.HTTPUnsupportedMediaType: the body is compressed.
        """
        _write_media_types_small(req)
        if req.content_length is None:
            if req.get_header("Transfer-Encoding"):
                raise falcon.HTTPLengthRequired(
                    title="length required",
                    description="Send the body with a Content-Length, or in chunks without a further coding.",
                )
        elif req.content_length > (allowed := self.sizes.of(req.path)):
            raise falcon.HTTPContentTooLarge(
                title="body too large",
                description=f"The body has {req.content_length} bytes; {allowed} are allowed.",
            )
        elif req.content_length and (req.get_header("Content-Encoding") or "identity").strip().lower() != "identity":
            raise falcon.HTTPUnsupportedMediaType(
                title="compressed body",
                description="Send the body as it is, without a Content-Encoding.",
                headers={"Accept-Encoding": "identity"},
            )


def _write_media_types_small(req: falcon.Request) -> None:
    """Write the media types that a client names in small letters: their case means nothing (RFC 9110, section 8.3.1).

    The parameters behind a type are left as they are.
    """
    if req.content_type:
        req.content_type = _small(req.content_type)
    if "HTTP_ACCEPT" in req.env:
        req.env["HTTP_ACCEPT"] = _small(req.env["HTTP_ACCEPT"])


def _small(types: str) -> str:
    return _TYPE.sub(lambda media_type: media_type[0].lower(), types)
