"""A lean HTTP client, so that the service is what is measured: bytes on one kept connection, hardly parsed."""

from __future__ import annotations

import itertools
import re
import socket
import time
from collections.abc import Sequence
from typing import Self

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class HttpClient:
    """One connection to a port of loopback.

    Args:
        port: the port of the service.
        wait_seconds: how long to wait for the port to listen, and for each part of an answer.

    Raises:
        OSError: the port did not listen in time.
    """

    def __init__(self, port: int, wait_seconds: float = 30.0) -> None:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", port), wait_seconds)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            ConnectionError: the answer is not a 200, or ended early.
        """
        self._socket.sendall(request)
        received = self._receive()
        while (head_end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        length = _LENGTH.search(received, 0, head_end + 2)
        if not received.startswith(b"HTTP/1.1 200 ") or length is None:
            raise ConnectionError(received.decode(errors="replace"))
        body_start, body_length = head_end + 4, int(length[1])
        while len(received) < body_start + body_length:
            received += self._receive()
        return received[body_start:]

    def _receive(self) -> bytes:
        part = self._socket.recv(2**16)
        if not part:
            raise ConnectionError("the connection was closed before the answer was complete")
        return part


def neighbours_request(logo_id: int, count: int, index: str | None = None) -> bytes:
    """Return the bytes of `GET /api/v1/ann/{logo_id}?count={count}`, of the default index or a named one."""
    named = "" if index is None else f"&index={index}"
    return f"GET /api/v1/ann/{logo_id}?count={count}{named} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def ask_in_turn(port: int, requests: Sequence[bytes], requests_a_connection: int, start: float, seconds: float) -> int:
    """Send one request after the other, and return how many were answered in time.

    Args:
        port: the port of the service.
        requests: to send, starting over after the last.
        requests_a_connection: number of requests after which to reconnect.
        start: when to begin, in seconds of `time.monotonic`, which all processes share.
        seconds: how long to continue.
    """
    time.sleep(max(0.0, start - time.monotonic()))
    answered, waiting = 0, itertools.cycle(requests)
    while True:
        with HttpClient(port) as client:
            for request in itertools.islice(waiting, requests_a_connection):
                client.ask(request)
                if time.monotonic() > start + seconds:
                    return answered
                answered += 1
