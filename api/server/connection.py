"""A client's connection in `worker.py`: the received part of a request, and the unsent part of an answer.

No method waits for the client. gunicorn's parser and the threads see a socket that accepts every byte and has none to
read. The worker's loop receives requests and sends answers.
"""

from __future__ import annotations

import contextvars
import logging
import re
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn

from api.server.body_sizes import BodySizes
from api.server.chunked_body import ChunkedBody
from api.server.refusal import Refusal

logger = logging.getLogger(__name__)

_JOINED_BYTES = 2**16  # a body below this is sent together with its head
_PART_BYTES = 2**17  # the most that is received before the loop serves the next connection
_READ_BYTES = 2**13  # the most that is received of a head; the kernel keeps what the client sends beyond it
_HEAD_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")  # at a bare line feed, the parser refuses the request
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_EXPECTS_100 = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


class ClientSocket:
    """A client's socket as gunicorn sees it: sending never waits or fails, and there is nothing to read.

    Attributes:
        unsent: data that the loop still has to send, each with the number of bytes already sent. It is empty when the
            answer is complete.
        unsent_bytes: the memory of the unsent data and of pieces that are not produced yet.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.fileno = sock.fileno
        self.unsent: deque[tuple[bytes, int]] = deque()
        self.unsent_bytes = 0
        self._sock = sock
        self._holds_next = False
        self._held = b""
        self._pieces: Iterator[bytes] | None = None
        self._pieces_bytes = 0
        self._context = contextvars.Context()

    def begin_answer(self) -> None:
        """Hold back the head, which is sent next, until the body follows: one packet is faster than two."""
        self._holds_next = True

    def end_answer(self) -> None:
        """Send the head of an answer without a body."""
        self._holds_next = False
        self._send_held()

    def sendall(self, data: bytes) -> None:
        """Send as much as possible without waiting, and keep the rest for the loop."""
        if self._holds_next:
            self._holds_next, self._held = False, data
        elif len(data) < _JOINED_BYTES:
            self._held += data
            self._send_held()
        else:
            self._send_held()
            self._send_or_keep(data)

    def send_later(self, pieces: Iterator[bytes], held_bytes: int) -> None:
        """Send pieces after the kept data. Each is produced when the client has read the ones before it.

        If a piece cannot be produced, the connection is closed.

        Args:
            pieces: each takes at most a few milliseconds to produce.
            held_bytes: the memory that the iterator uses until its end.
        """
        self._pieces, self._pieces_bytes = pieces, held_bytes
        self._context = contextvars.copy_context()  # of the request, for its id in log lines
        self.unsent_bytes += held_bytes
        if not self.unsent:
            self._make_piece()
        while self.unsent and self.send_some():
            pass

    def send_some(self) -> bool:
        """Send the first of the kept data, and return whether all of it was sent."""
        data, sent = self.unsent.popleft()
        sent += self._send(memoryview(data)[sent:])
        if sent < len(data):
            self.unsent.appendleft((data, sent))
            return False
        self.unsent_bytes -= len(data)
        if not self.unsent:
            self._make_piece()
        return True

    def close(self) -> None:
        """Close the connection."""
        self._forget_pieces()
        self._sock.close()

    def receive(self, size: int) -> bytes | None:
        """Return up to `size` bytes: `None` if there are none yet, and none (`b""`) if the client has closed."""
        try:
            return self._sock.recv(min(size, _PART_BYTES))
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def finish_sending(self) -> None:
        """Close the sending side, so that the client sees the end."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def recv(self, size: int) -> bytes:
        """Refuse to read: the parser already has the whole request.

        Raises:
            NoMoreData: always; gunicorn closes the connection.
        """
        raise NoMoreData

    def setblocking(self, flag: bool) -> None:
        """Do nothing: the socket never blocks, although gunicorn tries to switch it."""

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: the socket never blocks."""

    def gettimeout(self) -> float:
        """Return 0: the socket never waits."""
        return 0.0

    def _send(self, data: bytes | memoryview) -> int:
        """Send data, and return how many bytes are done: all of them if the connection is broken."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._forget_pieces()
            return len(data)

    def _send_held(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._send_or_keep(held)

    def _send_or_keep(self, data: bytes) -> None:
        sent = 0 if self.unsent else self._send(data)
        if sent < len(data):
            self.unsent.append((data, sent))
            self.unsent_bytes += len(data)

    def _make_piece(self) -> None:
        if self._pieces is None:
            return
        try:
            piece = self._context.run(next, self._pieces, None)
        except Exception:  # noqa: BLE001 - any error is logged
            self._context.run(logger.exception, "closed a connection: the rest of the answer cannot be produced")
            piece = None
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        if piece is None:
            self._forget_pieces()
        else:
            self.unsent.append((piece, 0))
            self.unsent_bytes += len(piece)

    def _forget_pieces(self) -> None:
        self.unsent_bytes -= self._pieces_bytes
        self._pieces, self._pieces_bytes = None, 0


class ClientConnection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A client's connection.

    Args:
        config: gunicorn's configuration.
        sock: the client's socket.
        client: the client's address.
        server: the listener's address.
        bodies: the largest bodies to wait for; the app refuses larger ones by their `Content-Length`.

    Attributes:
        received: the received part of the next request.
        counted_bytes: the part of `held_bytes` that the worker has counted.
        large_bytes: the length of the request if its body is larger than usual, else 0.
        came_in_chunks: whether the body of the last request passed to the parser was chunked.
    """

    def __init__(self, config: Any, sock: socket.socket, client: Any, server: Any, *, bodies: BodySizes) -> None:
        super().__init__(config, ClientSocket(sock), client, server)
        self.parser = RequestParser(config, self.sock, client)
        self.initialized = self.data_ready = True  # a thread need not set up the connection
        self.received = bytearray()
        self.counted_bytes = self.large_bytes = 0
        self.came_in_chunks = False
        self._bodies = bodies
        self._searched = 0
        self._wanted: int | None = None  # bytes of the request without a chunked body, once its head is received
        self._chunks: ChunkedBody | None = None

    @property
    def peer(self) -> str:
        """The client's address, for the log."""
        if not isinstance(self.client, tuple):
            return "a local socket"
        return f"[{self.host}]:{self.client[1]}" if ":" in self.host else f"{self.host}:{self.client[1]}"

    @property
    def host(self) -> str:
        """The client's address without its port."""
        return str(self.client[0]) if isinstance(self.client, tuple) else "-"

    @property
    def held_bytes(self) -> int:
        """The memory of the client's request and answer."""
        return len(self.received) + len(self._chunks.body if self._chunks else b"") + int(self.sock.unsent_bytes)

    @property
    def has_head(self) -> bool:
        """Whether the whole head of the request has been received."""
        return self._wanted is not None

    @property
    def refusal(self) -> Refusal | None:
        """Why the worker does not wait for the rest of the request; None if it does."""
        return None if self._chunks is None else self._chunks.refusal

    def begin_request(self) -> None:
        """Begin the next request with the bytes received after the last one."""
        self.received = bytearray(self.parser.unreader.take_buffered())
        self._searched, self._wanted, self.large_bytes, self._chunks = 0, None, 0, None

    def read(self) -> bool:
        """Receive more of the request; return False if the client has closed."""
        size = _PART_BYTES if self._chunks else max(_READ_BYTES, (self._wanted or 0) - len(self.received))
        data = self.sock.receive(size)
        self.received += data or b""
        return bool(data != b"")

    def has_request(self) -> bool:
        """Return whether the request is complete, or complete enough to be refused."""
        if self._wanted is None:
            end = _HEAD_END.search(self.received, max(0, self._searched - 3))
            self._searched = len(self.received)
            if end is None:
                return False
            self._read_head(end.end())
        if self._chunks is None:
            return len(self.received) >= (self._wanted or 0)
        return self._has_chunks(self._chunks, self._wanted or 0)

    def give_to_parser(self) -> None:
        """Pass the received bytes to gunicorn's parser."""
        self.came_in_chunks = self._chunks is not None
        if self._chunks is not None:
            self.received[self._wanted : self._wanted] = self._chunks.as_one_chunk
            self._chunks = None
        self.parser.unreader.unread(bytes(self.received))
        self.received = bytearray()

    def _read_head(self, end: int) -> None:
        head = bytes(self.received[: end - 2])
        length = _LENGTH.search(head)
        body = int(length[1]) if length else 0
        first_line = head.partition(b"\r\n")[0]
        is_1_1 = first_line.endswith(b" HTTP/1.1")
        most = self._bodies.of_request(first_line)
        self._wanted = end + (body if body <= most else 0)
        self.large_bytes = self._wanted if self._wanted > end + self._bodies.usual else 0
        if is_1_1 and not length and _CHUNKED.search(head):
            self._chunks = ChunkedBody(most)
        lacks_body = len(self.received) < self._wanted or (self._chunks and len(self.received) == self._wanted)
        if lacks_body and is_1_1 and _EXPECTS_100.search(head):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _has_chunks(self, chunks: ChunkedBody, head_bytes: int) -> bool:
        chunks.take(self.received, head_bytes)
        size = head_bytes + len(chunks.body)
        self.large_bytes = size if size > head_bytes + self._bodies.usual else 0
        return chunks.is_whole or chunks.refusal is not None
