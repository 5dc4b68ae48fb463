"""Answers whose bytes are made once: compressed once, named by an ETag, and not sent again to whoever has them.

A client that accepts gzip gets the compressed bytes; each of the two forms has an ETag of its own (RFC 9110, section
8.8.3.3).
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass

import falcon

REVALIDATE = "no-cache"  # keep it, but ask each time whether it is still the one
_WORTH_COMPRESSING = 1024  # bytes; fewer fit into one packet anyway


@dataclass(frozen=True, slots=True)
class Representation:
    """The bytes of an answer, and how they are sent.

    Attributes:
        content_type: what they are.
        etag: names the content, not its compression.
        plain: the bytes; None if they are only kept compressed, which is for large files that every browser takes so.
        compressed: the bytes in gzip; None if that would not be worth it.
    """

    content_type: str
    etag: str
    plain: bytes | None
    compressed: bytes | None

    @classmethod
    def of(cls, content: bytes, content_type: str) -> Representation:
        """Compress the content if that makes it smaller, and name it."""
        compressed = None
        if len(content) >= _WORTH_COMPRESSING:
            squeezed = gzip.compress(content, mtime=0)
            compressed = squeezed if len(squeezed) < 0.9 * len(content) else None
        return cls(content_type, _name(content), content, compressed)

    @classmethod
    def of_gzip(cls, compressed: bytes, content_type: str) -> Representation:
        """Take content that is compressed already, in gzip; it is not read here."""
        return cls(content_type, _name(compressed), None, compressed)

    def answer(self, req: falcon.Request, resp: falcon.Response, cache_control: str = REVALIDATE) -> None:
        """Send the bytes, or 304 if the client says that it has them.

        Raises:
            OSError: `of_gzip` was given what is no gzip.
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
    """Tell whether an `Accept-Encoding` header takes gzip (RFC 9110, section 12.5.3)."""
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
