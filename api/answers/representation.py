"""Answers that are prepared once and sent many times: compressed in advance, and named by an ETag.

A client that accepts gzip gets the compressed bytes. The two forms have different ETags (RFC 9110, section 8.8.3.3).
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass

import falcon

REVALIDATE = "no-cache"  # the browser may keep the answer, but must ask each time whether it has changed
_WORTH_COMPRESSING = 1024  # bytes; fewer fit into one packet uncompressed


@dataclass(frozen=True, slots=True)
class Representation:
    """The bytes of an answer, and the headers to send with them.

    Attributes:
        content_type: the media type.
        etag: identifies the content, whether it is sent compressed or not.
        plain: the bytes; `None` if only the compressed ones are kept, to save memory.
        compressed: the bytes in gzip; `None` if compression saves too little.
    """

    content_type: str
    etag: str
    plain: bytes | None
    compressed: bytes | None

    @classmethod
    def of(cls, content: bytes, content_type: str) -> Representation:
        """Prepare content, and compress it if that makes it clearly smaller."""
        compressed = None
        if len(content) >= _WORTH_COMPRESSING:
            squeezed = gzip.compress(content, mtime=0)
            compressed = squeezed if len(squeezed) < 0.9 * len(content) else None
        return cls(content_type, _name(content), content, compressed)

    @classmethod
    def of_gzip(cls, compressed: bytes, content_type: str) -> Representation:
        """Prepare content that is already gzip; it is not checked."""
        return cls(content_type, _name(compressed), None, compressed)

    def answer(self, req: falcon.Request, resp: falcon.Response, cache_control: str = REVALIDATE) -> None:
        """Send the bytes, or 304 if the client has them.

        Raises:
            OSError: the content given to `of_gzip` is not gzip, and the client wants it uncompressed.
        """
        with_gzip = self.compressed is not None and accepts_gzip(req.get_header("Accept-Encoding") or "")
        resp.etag = f"{self.etag}-gzip" if with_gzip else self.etag
        resp.cache_control = [cache_control]
        if self.compressed is not None:
            resp.append_header("Vary", "Accept-Encoding")
        if _has_it(req, str(resp.etag).strip('"')):
            resp.status = falcon.HTTP_304
            return
        resp.content_type = self.content_type
        if with_gzip:
            resp.set_header("Content-Encoding", "gzip")
            resp.data = self.compressed
        else:
            resp.data = gzip.decompress(self.compressed or b"") if self.plain is None else self.plain


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an `Accept-Encoding` header allows gzip (RFC 9110, section 12.5.3)."""
    qualities = {}
    for part in accept_encoding.lower().split(","):
        name, _, parameter = (piece.strip() for piece in part.partition(";"))
        try:
            qualities[name] = float(parameter.removeprefix("q=")) if parameter else 1.0
        except ValueError:
            qualities[name] = 0.0
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def _has_it(req: falcon.Request, etag: str) -> bool:
    known = req.if_none_match
    return known is not None and any(tag in ("*", etag) for tag in known)
