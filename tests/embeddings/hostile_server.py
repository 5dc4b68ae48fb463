"""A server on loopback that misbehaves as a test asks.

A test gives it one behaviour for each path: a function that is called with the connected socket after the request was
read. The server does no HTTP itself, so a behaviour can break any rule of HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from tests.waiting import PATIENCE

Behaviour = Callable[[socket.socket, threading.Event], None]
"""Called with the connection, and an event that is set when the server closes; the connection is closed afterwards."""


class HostileServer:
    """Listens on a free port of an address of this machine, with a thread for each connection.

    Attributes:
        requests: the head of every request received, one string each.
        accepted: the number of connections accepted.
        server_names: the host names requested in TLS handshakes.
    """

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour] | None = None,
        *,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        on_connect: Behaviour | None = None,
    ) -> None:
        self.behaviours = dict(behaviours or {})
        self.requests: list[str] = []
        self.accepted = 0
        self.server_names: list[str | None] = []
        self._tls = tls
        self._on_connect = on_connect
        self._closing = threading.Event()
        self._visits: list[threading.Thread] = []
        if tls is not None:
            tls.sni_callback = lambda _sock, name, _context: self.server_names.append(name)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family, backlog=128)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        for visit in self._visits:
            visit.join()
        self._listener.close()

    def url(self, path: str, host: str | None = None) -> str:
        """Return the URL of a path, with the address of the server or another host name."""
        literal = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self._tls else 'http'}://{host or literal}:{self.port}{path}"

    def _accept(self) -> None:
        # Shutting the listener down ends the wait with an error.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                self._visits.append(threading.Thread(target=self._receive, args=(connection,)))
                self._visits[-1].start()

    def _receive(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            # In most tests the client disconnects midway.
            stack.enter_context(contextlib.suppress(OSError))
            if self._on_connect is not None:
                self._on_connect(connection, self._closing)
                return
            if self._tls is not None:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            self.requests.append(head.decode("latin-1"))
            path = head.split(b" ", 2)[1].decode("latin-1")
            behaviour = self.behaviours.get(path.split("?")[0], reply(b"nothing here", status="404 Not Found"))
            behaviour(connection, self._closing)


def raw(answer: bytes) -> Behaviour:
    """Send these bytes and disconnect."""

    def behave(connection: socket.socket, _closing: threading.Event) -> None:
        connection.sendall(answer)

    return behave


def reply(body: bytes, *headers: str, status: str = "200 OK") -> Behaviour:
    """Respond as HTTP requires, with the right length unless `headers` state another."""
    framed = any(header.lower().startswith(("content-length:", "transfer-encoding:")) for header in headers)
    lines = [f"HTTP/1.1 {status}", *headers, *([] if framed else [f"Content-Length: {len(body)}"])]
    return raw("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)


def redirect(location: str, status: str = "302 Found") -> Behaviour:
    """Redirect the client."""
    return reply(b"", f"Location: {location}", status=status)


def drip(prefix: bytes, drop: bytes, every: float = 0.02) -> Behaviour:
    """Send `prefix`, then `drop` repeatedly, a little at a time, until the client disconnects."""

    def behave(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(prefix)
        while not closing.wait(every):
            connection.sendall(drop)

    return behave


def flood(prefix: bytes, block: bytes) -> Behaviour:
    """Send `prefix`, then `block` repeatedly, as fast as it is read, until the client disconnects."""

    def behave(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(prefix)
        while not closing.is_set():
            connection.sendall(block)

    return behave


def silence(prefix: bytes = b"") -> Behaviour:
    """Send `prefix`, then nothing, and keep the connection open."""

    def behave(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(prefix)
        closing.wait()

    return behave


def chunked(pieces: Iterable[bytes], *headers: str) -> bytes:
    """Return a complete response body in chunks, including the last one."""
    head = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers))
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head.encode() + b"\r\n" + framed + b"0\r\n\r\n"
