"""HTTP connections to untrusted addresses, with limits on time, bytes and redirects.

Every read of a socket counts against the limits, headers and TLS included. A server that sends a few bytes at a time
never exceeds the limit of one read, but it exceeds the total.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MOST_INTERIM_ANSWERS = 100
_FRAMING_BYTES = 2**20  # allowed for headers and chunk sizes, besides the image


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits for one image, including redirects.

    Attributes:
        max_bytes: the size of the image file, in bytes, after decompression.
        connect_seconds: how long to wait for a connection to one address, and again for its TLS handshake.
        read_seconds: how long to wait for the next bytes.
        total_seconds: the time for everything. The system's name look-ups count, but cannot be interrupted.
        max_redirects: how many redirects are followed.
    """

    max_bytes: int = 20 * 2**20
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    total_seconds: float = 20.0
    max_redirects: int = 5


class RefusedError(Exception):
    """The fetch failed; the text completes the message of `ImageFetcher.fetch`."""


class UnreachableError(RefusedError):
    """The fetch failed because of the host, not because of the image."""


class BusyError(RefusedError):
    """The fetch failed, but may succeed later.

    Attributes:
        retry_after: seconds after which to try again, if the host said so.
    """

    def __init__(self, reason: str, retry_after: int | None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Budget:
    """The time, bytes and redirects that one fetch has left."""

    def __init__(self, limits: FetchLimits) -> None:
        self.limits = limits
        self._deadline = time.monotonic() + limits.total_seconds
        self._bytes = limits.max_bytes + _FRAMING_BYTES
        self._redirects = limits.max_redirects

    def seconds(self, at_most: float) -> float:
        """Return how long the next wait may be; raise an error if no time is left."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise UnreachableError(f"it took longer than {self.limits.total_seconds:g} seconds")
        return min(left, at_most)

    def take_bytes(self, count: int) -> None:
        """Count received bytes; raise an error beyond the limit."""
        self._bytes -= count
        if self._bytes < 0:
            raise too_large(self.limits.max_bytes)

    def take_redirect(self) -> None:
        """Count a redirect; raise an error beyond the limit."""
        self._redirects -= 1
        if self._redirects < 0:
            raise RefusedError(f"it redirects more than {self.limits.max_redirects} times")


class Connection(HTTPConnection):
    """An HTTP connection to addresses that were checked; the host name is only sent in the request."""

    def __init__(self, *args: Any, dial: Callable[[], socket.socket], budget: Budget, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dial = dial
        self.response_class = _metered_response(budget)

    def _new_conn(self) -> socket.socket:
        return self._dial()


class TLSConnection(Connection, HTTPSConnection):
    """The same over TLS: the certificate must be valid for the host name, whatever the address."""


def _metered_response(budget: Budget) -> type[http.client.HTTPResponse]:
    """Return the class with which http.client reads from a connection, both headers and body."""

    class MeteredResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = io.BufferedReader(_MeteredReader(sock, self.fp.detach(), budget))

        def _read_status(self) -> tuple[str, int, str]:
            """Skip interim responses: any number may precede the final one (RFC 9110, section 15.2)."""
            for _ in range(_MOST_INTERIM_ANSWERS + 1):
                version, status, reason = super()._read_status()  # type: ignore[misc]  # http.client skips 100 only
                if not 100 <= status < 200 or status == HTTPStatus.SWITCHING_PROTOCOLS:  # it was not asked for
                    return version, status, reason
                http.client.parse_headers(self.fp)
            raise RefusedError(f"its server sent more than {_MOST_INTERIM_ANSWERS} interim answers")

    return MeteredResponse


class _MeteredReader(io.RawIOBase):
    """Reads a socket within the budget of one fetch."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, budget: Budget) -> None:
        self._sock = sock
        self._raw = raw
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        self._sock.settimeout(self._budget.seconds(self._budget.limits.read_seconds))
        count = self._raw.readinto(buffer)
        self._budget.take_bytes(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def too_large(max_bytes: int) -> RefusedError:
    """Return the error for an image of too many bytes."""
    return RefusedError(f"it is larger than {max_bytes:,} bytes")
