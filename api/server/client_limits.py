"""The limits of the clients of a worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.server.body_sizes import BodySizes


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How much time and memory the clients of a worker may use.

    Attributes:
        receive_seconds: how long a client may take to send a whole request.
        send_seconds: how long a client may read nothing of its answer.
        bodies: the largest bodies that are read; the app refuses larger ones by their `Content-Length`.
        buffer_bytes: the memory for incomplete requests and unsent answers. It is also the limit for complete requests
            with larger bodies than usual, until they are answered.
    """

    receive_seconds: float = 20.0
    send_seconds: float = 20.0
    bodies: BodySizes = field(default_factory=BodySizes)
    buffer_bytes: int = 2**28
