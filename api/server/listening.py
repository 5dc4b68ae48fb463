"""Check that the service can listen on its address before it prepares anything.

gunicorn alone would try five times, with a traceback or two log lines each time, and only after the data directory has
been prepared.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable

PATIENCE_SECONDS = 5.0
"""How long to wait for a port that a service killed just before may still hold. gunicorn waits as long."""

_PAUSE_SECONDS = 0.1
_INHERITED = ("LISTEN_FDS", "GUNICORN_FD")  # from systemd, or from the master that this one replaces


class ListenError(OSError):
    """The service cannot listen on an address; the message says why, and what to change."""


def check_addresses(addresses: Iterable[object], *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Check that each TCP address can be bound. Inherited sockets need no check.

    Args:
        addresses: as in gunicorn's `cfg.address`: `(host, port)`; anything else is no TCP address, and is skipped.
        patience_seconds: how long to wait for a port that is in use.

    Raises:
        ListenError: an address cannot be bound.
    """
    if any(name in os.environ for name in _INHERITED):
        return
    deadline = time.monotonic() + patience_seconds
    for address in addresses:
        if isinstance(address, tuple):
            _check(address[0], address[1], deadline)


def _check(host: str, port: int, deadline: float) -> None:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    while True:
        try:
            _bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ListenError(f"cannot listen on {shown}: {error.strerror or error}; set ANN_BIND") from error
            if time.monotonic() >= deadline:
                raise ListenError(
                    f"port {port} is in use: stop the other service, or set ANN_BIND to another address (`make run"
                    " PORT=5502`)"
                ) from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _bind(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, port))
