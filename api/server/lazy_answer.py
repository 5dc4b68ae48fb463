"""Answers that are made while they are sent, so that a slow client costs the memory of one piece, not of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from api.server.connection import ClientSocket


def lazily(pieces: Iterator[bytes], environ: Mapping[str, Any], *, held_bytes: int) -> Iterable[bytes]:
    """Return a WSGI body whose pieces the worker's loop makes one by one, as the client takes them.

    Under another server than the worker's they are made at once.

    Args:
        pieces: each takes at most a few milliseconds to make; the answer says their length in all.
        environ: the request's.
        held_bytes: how much memory the pieces take until the last one is made.
    """
    client = environ.get("gunicorn.socket")
    return _handed_over(pieces, client, held_bytes) if isinstance(client, ClientSocket) else pieces


def _handed_over(pieces: Iterator[bytes], client: ClientSocket, held_bytes: int) -> Iterator[bytes]:
    yield b""  # has gunicorn send the head
    client.send_later(pieces, held_bytes)
