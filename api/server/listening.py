"""Listen on the service's addresses, or say in one line why that is impossible.

gunicorn alone would try five times, with a traceback or two log lines each time, and only after the data directory has
been prepared. Its socket for `[::]` would also take IPv4 clients, under addresses such as `::ffff:10.0.0.1`; so it
cannot share a port with a socket for IPv4. Here each socket serves one family, and clients keep their plain addresses.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gunicorn.sock import TCP6Socket, TCPSocket

PATIENCE_SECONDS = 5.0
"""How long to wait for a port that a service killed just before may still hold. gunicorn waits as long."""

_PAUSE_SECONDS = 0.1
_INHERITED = ("LISTEN_FDS", "GUNICORN_FD")  # from systemd, or from the master that this one replaces
_IPV4, _IPV6 = "0.0.0.0", "::"  # noqa: S104 - every address of the family
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL)

logger = logging.getLogger(__name__)

Made = TypeVar("Made")


class ListenError(OSError):
    """The service cannot listen on an address; the message says why, and what to change."""


class Ipv6Listener(TCP6Socket):  # type: ignore[misc]  # gunicorn has no types
    """A listening socket for IPv6 clients alone, whatever the system's default is."""

    def bind(self, sock: socket.socket) -> None:
        """Bind the socket to its address."""
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().bind(sock)


def gunicorn_binds(address: str) -> list[str]:
    """Return an address of `ANN_BIND` as gunicorn takes it: `:PORT` is every IPv4 and every IPv6 address."""
    return [f"{_IPV4}{address}", f"[{_IPV6}]{address}"] if address.startswith(":") else [address]


def check_addresses(addresses: Sequence[object], *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Check that each TCP address can be bound. Inherited sockets need no check.

    Args:
        addresses: as in gunicorn's `cfg.address`: `(host, port)`; anything else is no TCP address, and is skipped.
        patience_seconds: how long to wait for a port that is in use.

    Raises:
        ListenError: an address cannot be bound.
    """
    if _are_inherited():
        return
    deadline = time.monotonic() + patience_seconds
    for host, port in _usable([address for address in addresses if isinstance(address, tuple)])[0]:
        _bound(host, port, deadline, _try_to_bind)


def listen(config: Any, log: Any, *, patience_seconds: float = PATIENCE_SECONDS) -> list[TCPSocket]:
    """Return gunicorn's listeners for its addresses; none if gunicorn should make them or inherits them.

    If the port is 0, the system chooses one, the same for both families.

    Args:
        config: gunicorn's configuration.
        log: gunicorn's logger.
        patience_seconds: how long to wait for a port that is in use.

    Raises:
        ListenError: an address cannot be bound.
    """
    addresses = config.address
    if _are_inherited() or config.reuse_port or not all(isinstance(address, tuple) for address in addresses):
        return []

    def listener(host: str, port: int) -> TCPSocket:
        _try_to_bind(host, port)  # gunicorn does not close a socket that cannot be bound
        return (Ipv6Listener if ":" in host else TCPSocket)((host, port), config, log)

    deadline = time.monotonic() + patience_seconds
    usable, lack = _usable(addresses)
    if lack is not None:
        logger.info("listening on IPv4 only, because the system has no IPv6 (%s)", lack.strerror)
    if usable != [(_IPV4, 0), (_IPV6, 0)]:
        return [_bound(host, port, deadline, listener) for host, port in usable]
    while True:
        of_ipv4 = _bound(_IPV4, 0, deadline, listener)
        try:
            return [of_ipv4, _bound(_IPV6, of_ipv4.getsockname()[1], 0.0, listener)]
        except ListenError as error:
            of_ipv4.close()
            if not _is_in_use(error.__cause__) or time.monotonic() >= deadline:
                raise


def _are_inherited() -> bool:
    return any(name in os.environ for name in _INHERITED)


def _usable(addresses: Sequence[tuple[str, int]]) -> tuple[list[tuple[str, int]], OSError | None]:
    """Return the addresses that the system can have: without IPv6, not the `[::]` beside `0.0.0.0`, but the error."""
    if {_IPV4, _IPV6} <= {host for host, _ in addresses}:
        try:
            _try_to_bind(_IPV6, 0)
        except OSError as error:
            if error.errno in _NO_IPV6:
                return [address for address in addresses if address[0] != _IPV6], error
    return list(addresses), None


def _bound(host: str, port: int, deadline: float, make: Callable[[str, int], Made]) -> Made:
    """Return what `make` returns for the address, as soon as its port is free.

    Raises:
        ListenError: it cannot be bound, or its port is still in use at the deadline (monotonic seconds).
    """
    while True:
        try:
            return make(host, port)
        except OSError as error:
            if not _is_in_use(error):
                shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                raise ListenError(f"cannot listen on {shown}: {error.strerror or error}; set ANN_BIND") from error
            if time.monotonic() >= deadline:
                raise ListenError(
                    f"port {port} is in use: stop the other service, or set ANN_BIND to another address (`make run"
                    " PORT=5502`)"
                ) from error
        time.sleep(_PAUSE_SECONDS)


def _is_in_use(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def _try_to_bind(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if trial.family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        trial.bind((host, port))
