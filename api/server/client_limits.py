"""What clients may take up of a worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.server.body_sizes import BodySizes


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What clients may take up.

    Attributes:
        receive_seconds: how long a client may take to send a request, in all.
        send_seconds: how long a client may take nothing of its answer.
        bodies: the largest that are read; larger ones are for the app to refuse by their length.
        buffer_bytes: what is held of all requests that are not whole and all answers that are not taken; with it, of
            all requests that wait for a thread or have one and whose bodies are larger than usual.
    """

    receive_seconds: float = 20.0
    send_seconds: float = 20.0
    bodies: BodySizes = field(default_factory=BodySizes)
    buffer_bytes: int = 2**28
