"""A client's connection as `worker.py` holds it: what has come of a request, and what is still to be sent of an answer.

No method waits for the client. gunicorn's parser, and the threads that answer, see a socket that takes every byte and
has none to read; the worker's loop fills the one side and empties the other.
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
_PART_BYTES = 2**17  # the most that is received before the loop turns to the next connection
_READ_BYTES = 2**13  # what is received of a head; what a client sends ahead of its turn stays with the kernel
_HEAD_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")  # the parser refuses a bare line feed as soon as it sees one
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_EXPECTS_100 = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


class ClientSocket:
    """A client's socket as gunicorn sees it: sending neither waits nor fails, and there is nothing to read.

    Attributes:
        unsent: what the client has not taken yet, left to the loop. It is empty once there is nothing more to send.
        unsent_bytes: how much memory that, and the pieces still to be made, keep from being freed.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.fileno = sock.fileno
        self.unsent: deque[tuple[bytes, int]] = deque()  # and how much of it was taken
        self.unsent_bytes = 0
        self._sock = sock
        self._holds_next = False
        self._held = b""
        self._pieces: Iterator[bytes] | None = None
        self._pieces_bytes = 0
        self._context = contextvars.Context()

    def begin_answer(self) -> None:
        """Hold back what is sent next, the head, until its body follows: one packet is faster than two."""
        self._holds_next = True

    def end_answer(self) -> None:
        """Send what is held back, of an answer without a body."""
        self._holds_next = False
        self._send_held()

    def sendall(self, data: bytes) -> None:
        """Send what the client takes at once, and keep the rest."""
        if self._holds_next:
            self._holds_next, self._held = False, data
        elif len(data) < _JOINED_BYTES:
            self._held += data
            self._send_held()
        else:
            self._send_held()
            self._send_or_keep(data)

    def send_later(self, pieces: Iterator[bytes], held_bytes: int) -> None:
        """Send pieces after all that was kept, each made once the client has taken those before it.

        If one cannot be made, the connection is broken off.

        Args:
            pieces: each takes at most a few milliseconds to make.
            held_bytes: how much memory they take until the last one is made.
        """
        self._pieces, self._pieces_bytes = pieces, held_bytes
        self._context = contextvars.copy_context()  # of the request, for the lines that making them logs
        self.unsent_bytes += held_bytes
        if not self.unsent:
            self._make_piece()
        while self.unsent and self.send_some():
            pass

    def send_some(self) -> bool:
        """Send a part of what was kept; tell whether the client took all of the part."""
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
        """Return up to `size` bytes: None if nothing has come, and an empty string if nothing will."""
        try:
            return self._sock.recv(min(size, _PART_BYTES))
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def finish_sending(self) -> None:
        """Tell the client that this was all."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def recv(self, size: int) -> bytes:
        """Tell the parser that it has all there is.

        Raises:
            NoMoreData: always; gunicorn closes the connection.
        """
        raise NoMoreData

    def setblocking(self, flag: bool) -> None:
        """Stay as it is, though gunicorn switches between its loop and its threads."""

    def settimeout(self, seconds: float | None) -> None:
        """Stay as it is, as above."""

    def gettimeout(self) -> float:
        """Say that nothing is waited for."""
        return 0.0

    def _send(self, data: bytes | memoryview) -> int:
        """Return how many bytes need not be sent any more: all, if the connection is broken."""
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
        except Exception:  # noqa: BLE001 - whatever it is, it is logged
            self._context.run(logger.exception, "closed on a client: the rest of its answer cannot be made")
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
        config: gunicorn's.
        bodies: the largest that are waited for; larger ones are for the app to refuse by their length.

    Attributes:
        received: what has come of the next request.
        counted_bytes: what the worker last counted of `held_bytes`.
        large_bytes: of the request, if its body is larger than usual.
        came_in_chunks: whether the body of the request that the parser was given did.
    """

    def __init__(self, config: Any, sock: socket.socket, client: Any, server: Any, *, bodies: BodySizes) -> None:
        super().__init__(config, ClientSocket(sock), client, server)
        self.parser = RequestParser(config, self.sock, client)
        self.initialized = self.data_ready = True  # nothing is left for a thread to prepare
        self.received = bytearray()
        self.counted_bytes = self.large_bytes = 0
        self.came_in_chunks = False
        self._bodies = bodies
        self._searched = 0
        self._wanted: int | None = None  # the bytes of the request, once its head has told; without a body in chunks
        self._chunks: ChunkedBody | None = None

    @property
    def peer(self) -> str:
        """The client's address, for the log."""
        return f"{self.client[0]}:{self.client[1]}" if isinstance(self.client, tuple) else "a local socket"

    @property
    def host(self) -> str:
        """The client's address without its port."""
        return str(self.client[0]) if isinstance(self.client, tuple) else "-"

    @property
    def held_bytes(self) -> int:
        """How much memory the client's request and answer take."""
        return len(self.received) + len(self._chunks.body if self._chunks else b"") + int(self.sock.unsent_bytes)

    @property
    def has_head(self) -> bool:
        """Whether the end of the request's head has come."""
        return self._wanted is not None

    @property
    def refusal(self) -> Refusal | None:
        """Why the rest of the request is not waited for, if it is not."""
        return None if self._chunks is None else self._chunks.refusal

    def begin_request(self) -> None:
        """Begin with what came after the last request."""
        self.received = bytearray(self.parser.unreader.take_buffered())
        self._searched, self._wanted, self.large_bytes, self._chunks = 0, None, 0, None

    def read(self) -> bool:
        """Take in some of what has come; return False if the client has closed."""
        size = _PART_BYTES if self._chunks else max(_READ_BYTES, (self._wanted or 0) - len(self.received))
        data = self.sock.receive(size)
        self.received += data or b""
        return bool(data != b"")

    def has_request(self) -> bool:
        """Tell whether a whole request has come, or enough of one to refuse it."""
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
        """Let gunicorn's parser have what has come."""
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
