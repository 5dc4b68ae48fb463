"""Answers that are written while they are sent, so that a slow client takes the memory of one piece, not of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from api.server.connection import ClientSocket


def lazily(pieces: Iterator[bytes], environ: Mapping[str, Any], *, held_bytes: int) -> Iterable[bytes]:
    """Return a WSGI body whose pieces the worker's loop produces one by one, as the client reads them.

    Under another server, the server iterates over the pieces itself.

    Args:
        pieces: each takes at most a few milliseconds to produce; `Content-Length` must be their total length.
        environ: the WSGI environment of the request.
        held_bytes: the memory that the iterator uses until its end.
    """
    client = environ.get("gunicorn.socket")
    return _handed_over(pieces, client, held_bytes) if isinstance(client, ClientSocket) else pieces


def _handed_over(pieces: Iterator[bytes], client: ClientSocket, held_bytes: int) -> Iterator[bytes]:
    yield b""  # makes gunicorn send the head
    client.send_later(pieces, held_bytes)
