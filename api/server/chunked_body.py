"""A request's body in chunks (RFC 9112, section 7.1), put together as it comes.

The worker's loop takes a body out of its chunks before gunicorn's parser sees the request, and the parser is given the
same body as one chunk. So a body is limited as it comes, nobody waits for a client in a thread, and what the chunks add
to the body is not kept.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import IterUnreader

from api.server.refusal import Refusal

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_END_OF_TRAILERS = re.compile(rb"(?:[^\r\n]+\r\n)*\r\n")
_MOST_LINE_BYTES = 2**12  # of a chunk's size and its extensions, and of all trailers
_MOST_FRAMING_BYTES = 2**20  # of sizes, extensions and line ends in all: the loop has better things to do


class ChunkedBody:
    """The chunks of a body as they come.

    Args:
        most_bytes: the largest body that is taken.

    Attributes:
        body: what has come of it.
        refusal: why the rest is not waited for; None as long as nothing is wrong.
        is_whole: whether the last chunk and its trailers have come.
    """

    def __init__(self, most_bytes: int) -> None:
        self.body = bytearray()
        self.refusal: Refusal | None = None
        self.is_whole = False
        self._most_bytes = most_bytes
        self._framing_bytes = 0
        self._left = 0  # bytes of the chunk that are still to come, with its line end

    @property
    def as_one_chunk(self) -> bytes:
        """The body, once it is whole, as a request may hold it."""
        size = b"%x\r\n" % len(self.body)
        return b"".join((size, self.body, b"\r\n0\r\n\r\n")) if self.body else b"0\r\n\r\n"

    def take(self, received: bytearray, begin: int) -> None:
        """Take what is whole from `begin` on out of what was received. What follows the body stays there."""
        place = begin
        while not self.is_whole and self.refusal is None:
            after = self._after_data(received, place) if self._left else self._after_size(received, place)
            if after == place:
                break
            place = after
        del received[begin:place]

    def _after_data(self, received: bytearray, place: int) -> int:
        data = min(self._left - 2, len(received) - place)
        if data > 0:
            self.body += received[place : place + data]
            self._left -= data
            return place + data
        if self._left > 2 or len(received) < place + 2:
            return place
        if received[place : place + 2] != b"\r\n":
            self.refusal = _malformed("A chunk is longer than its size says.")
        self._left = 0
        return place + 2

    def _after_size(self, received: bytearray, place: int) -> int:
        line = _SIZE_LINE.match(received, place)
        if line is None:
            if b"\n" in received[place : place + _MOST_LINE_BYTES] or len(received) - place > _MOST_LINE_BYTES:
                self.refusal = _malformed("A chunk has no size, in hexadecimal digits on a line of its own.")
            return place
        size = int(line[1], 16)
        if size == 0:
            return self._after_trailers(received, place, line.end())
        self._framing_bytes += line.end() - place + 2
        if len(self.body) + size > self._most_bytes:
            self.refusal = _too_large(f"The body has over {self._most_bytes} bytes, which are allowed at most.")
        elif self._framing_bytes > _MOST_FRAMING_BYTES:
            self.refusal = _too_large("The body comes in far too many chunks: send larger ones.")
        self._left = size + 2
        return line.end()

    def _after_trailers(self, received: bytearray, place: int, trailers: int) -> int:
        end = _END_OF_TRAILERS.match(received, trailers)
        if end is None:
            if len(received) - trailers > _MOST_LINE_BYTES:
                self.refusal = _malformed("The trailers after the last chunk are too long, or do not end.")
            return place  # the last size is read again with them
        self.is_whole = True
        return end.end()


def count_body(req: Any) -> None:
    """Make a request of gunicorn whose body came in chunks, all of them, one whose head says the body's length."""
    body = req.body.read()
    req.headers = [(name, value) for name, value in req.headers if name != "TRANSFER-ENCODING"]
    req.headers.append(("CONTENT-LENGTH", str(len(body))))
    req.body = Body(LengthReader(IterUnreader([body]), len(body)))


def _malformed(description: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "malformed chunk", description)


def _too_large(description: str) -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too large", description)
