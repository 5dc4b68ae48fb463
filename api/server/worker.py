"""A gunicorn worker whose threads never wait for a client: a slow client takes a descriptor and memory, but no thread.

gunicorn's own threads read requests and send answers themselves, so a few slow clients block the whole service. Here
the event loop receives each request completely before a thread handles it, and sends what a client does not read at
once. Both have time limits. The number of connections and their memory are limited, too: over a limit, the connection
that has been idle longest is closed to make room.

The loop only searches for the end of a request, and gunicorn's parser interprets the bytes; if the loop finds a wrong
end, the request is refused. Methods without an underscore override gunicorn's, which calls them. Its version is pinned,
and `gunicorn_internals.py` lists what this module relies on; tests check it.
"""

from __future__ import annotations

import errno
import selectors
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import ThreadWorker

from api.server.chunked_body import count_body
from api.server.client_limits import ClientLimits
from api.server.connection import ClientConnection, ClientSocket
from api.server.latest_first import LatestFirstPool
from api.server.refusal import Observer, Page, Refusal, quote_little, refuse_outside
from runtime import request_id

_LINE_BYTES = 2**13  # of a request's first line, for the log
_HEAD_BYTES = 2**16  # a longer head is refused
_LINGER_SECONDS = 2.0  # time for a client that is still sending to read the last answer; RFC 9112, section 9.6
_CHECK_SECONDS = 0.1  # between checks of the time limits
_NOTIFY_SECONDS = 0.5  # between heartbeats; gunicorn's `timeout` for them is in whole seconds
_YIELD_SECONDS = 0.0005  # in which an idle worker accepts a connection
_RETRY_SECONDS = 1.0  # before new connections are accepted again after descriptors ran out
_WARN_SECONDS = 5.0  # between two warnings
_SPARE_DESCRIPTORS = 32  # kept free for the app once descriptors have run out
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TOO_LARGE_FOR_NOW = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "too busy", "Too many large requests are being handled; try again in a moment."
)
_TRANSIENT = (errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO)

Queue = OrderedDict[ClientConnection, float]
"""Connections, oldest first, and the time (monotonic seconds) since when the loop has been waiting for each."""


class BufferingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker; see the module. The configuration of gunicorn makes a subclass with other `limits`."""

    limits = ClientLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Clients that should begin a request, complete it, read their answer, or close after the last one.
        self._queues = self._idle, self._receiving, self._sending, self._closing = Queue(), Queue(), Queue(), Queue()
        self._held_bytes = 0  # of the connections in these queues
        self._large_bytes = 0  # of requests that are larger than usual and handled by threads
        # Times of the monotonic clock.
        self._notify_at = self._check_at = self._warn_at = self._retry_at = self._idle_until = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Stop the start if gunicorn is configured for a protocol that the loop does not know."""
        if cfg.is_ssl or "h2" in cfg.http_protocols or cfg.protocol != "http" or cfg.proxy_protocol in ("v2", "auto"):
            sys.exit("robotoff-ann: only HTTP/1 is supported: use a proxy for TLS, HTTP/2, uwsgi and PROXY v2")
        super().check_config(cfg, log)

    def get_thread_pool(self) -> LatestFirstPool:
        """Return the pool of the threads that handle requests."""
        return LatestFirstPool(self.cfg.threads)

    def accept(self, listener: Any) -> None:
        """Accept a new connection, but leave it to an idle worker if this one is handling requests."""
        if self.cfg.workers > 1 and self.nr_conns > sum(map(len, self._queues)):
            time.sleep(_YIELD_SECONDS)
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR:
                spare = min(_SPARE_DESCRIPTORS, self.nr_conns // 2)
                self.worker_connections = self.nr_conns - spare  # for now; the oldest are closed
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                self._warn("%s, with %d connections: raise `ulimit -n`", error.strerror, self.nr_conns)
            elif error.errno not in _TRANSIENT:
                raise
            return
        self.nr_conns += 1
        server = listener.getsockname()
        self.enqueue_req(ClientConnection(self.cfg, sock, client, server, bodies=self.limits.bodies))

    def notify(self) -> None:
        """Send a heartbeat, but not in each round of the loop, because it may wait for the interpreter's lock."""
        now = time.monotonic()
        if now >= self._notify_at:
            self._notify_at = now + _NOTIFY_SECONDS
            super().notify()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; meanwhile, new ones wait in the listener's backlog."""
        if self.alive and self._accepting and not enabled:
            self._warn("%d connections are open, as many as allowed: new ones must wait", self.nr_conns)
        super().set_accept_enabled(enabled)

    def enqueue_req(self, conn: ClientConnection) -> None:
        """Pass the next request of a connection to a thread as soon as it is complete."""
        conn.begin_request()
        if conn.has_request():
            self._hand_over(conn)
        else:
            queue = self._receiving if conn.received else self._idle
            self._wait(queue, conn, selectors.EVENT_READ, self._on_readable)

    def handle_request(self, req: Any, conn: ClientConnection) -> Any:
        """Handle a request, in a thread."""
        refuse_outside(req)
        req._expected_100_continue = False  # the loop has already sent it
        reader = req.body.reader
        if conn.came_in_chunks:
            count_body(req)
        elif not isinstance(reader, LengthReader) or reader.length > len(conn.parser.unreader.buf.getbuffer()):
            req.force_close()  # the rest of a body that the app refuses unread was not received
        conn.sock.begin_answer()
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock.end_answer()

    def handle(self, conn: ClientConnection) -> Any:
        """Handle the received bytes, in a thread."""
        try:
            return super().handle(conn)
        finally:
            request_id.end()

    def handle_error(self, req: Any, client: ClientSocket, addr: Any, exc: Exception) -> None:
        """Send an error for an invalid request or an exception of the app, in a thread."""
        named = request_id.begin()
        quote_little(exc)
        page = Page()
        super().handle_error(req, page, addr, exc)  # it logs the error and chooses the status
        first_line = f"{getattr(req, 'method', '-')} {getattr(req, 'uri', '-')}"
        refusal = Refusal.of_exception(page.status, exc)
        self._tell(first_line, refusal, 0.0, addr[0] if isinstance(addr, tuple) else "-")
        client.sendall(refusal.answer(named))

    def finish_request(self, conn: ClientConnection, fs: Future[Any]) -> None:
        """Continue with the connection once the client has read the answer."""
        self._large_bytes -= conn.large_bytes
        conn.large_bytes = 0
        if conn.sock.unsent:
            self._wait(self._sending, conn, selectors.EVENT_WRITE, partial(self._on_writable, fs))
        elif not fs.cancelled() and fs.exception() is None and fs.result():
            self.enqueue_req(conn)
        else:
            self._linger(conn)

    def murder_pending(self) -> None:
        """Close connections over a limit of time or memory. The loop calls this in each round, at least each second."""
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + _CHECK_SECONDS
            self._close_overdue(now)
            if self._observer is not None:
                self._observer.holds(self.nr_conns, self._held_bytes)
        self._make_room()

    def _close_overdue(self, now: float) -> None:
        if self.alive:
            self._idle_until = now + _LINGER_SECONDS  # when it stops, wait for requests that are on their way
        keepalive = (self.cfg.keepalive or self.limits.receive_seconds) if now < self._idle_until else 0
        for conn in self._overdue(self._idle, now - keepalive):
            self._drop(conn)
        for conn in self._overdue(self._receiving, now - self.limits.receive_seconds):
            text = f"The request did not arrive within {self.limits.receive_seconds:g} s."
            refusal = Refusal(HTTPStatus.REQUEST_TIMEOUT, "request too slow", text)
            self._refuse(conn, refusal, seconds=self.limits.receive_seconds)
        for conn in self._overdue(self._sending, now - self.limits.send_seconds):
            self.log.info("closed the connection of %s, which did not read its answer", conn.peer)
            self._drop(conn)
        for conn in self._overdue(self._closing, now - _LINGER_SECONDS):
            self._drop(conn)
        if now >= self._retry_at:
            self.worker_connections = self.cfg.worker_connections

    def _make_room(self) -> None:
        """Close the connections that have been idle longest, to make room for new ones and their requests."""
        while self.nr_conns >= self.worker_connections:
            if not self._close_oldest(*self._queues):
                break  # threads are handling all of them
            self._warn("%d connections are open, as many as allowed: closing old ones", self.worker_connections)
        # A single answer may be larger than the limit; it is still sent.
        while self._held_bytes > self.limits.buffer_bytes and len(self._receiving) + len(self._sending) > 1:
            self._warn("%d bytes are held for slow clients, more than allowed: closing old ones", self._held_bytes)
            large = next((conn for conn in self._receiving if conn.large_bytes), None)
            if large is None:
                self._close_oldest(self._receiving, self._sending)
            else:
                self._refuse(self._leave(self._receiving, large), _TOO_LARGE_FOR_NOW)

    def _close_oldest(self, *queues: Queue) -> bool:
        filled = [queue for queue in queues if queue]
        if filled:
            oldest = min(filled, key=lambda queue: next(iter(queue.values())))
            self._drop(self._leave(oldest, next(iter(oldest))))
        return bool(filled)

    def _overdue(self, queue: Queue, since: float) -> Iterator[ClientConnection]:
        while queue and next(iter(queue.values())) <= since:
            yield self._leave(queue, next(iter(queue)))

    def _hand_over(self, conn: ClientConnection) -> None:
        if conn.refusal is not None:
            self._refuse(conn, conn.refusal)
            return
        if conn.large_bytes:
            if self._large_bytes and self._large_bytes + conn.large_bytes > self.limits.buffer_bytes:
                self._refuse(conn, _TOO_LARGE_FOR_NOW)
                return
            self._large_bytes += conn.large_bytes
        conn.give_to_parser()
        super().enqueue_req(conn)

    def _on_readable(self, conn: ClientConnection, _: ClientSocket) -> None:
        is_open = conn.read()
        queue = self._idle if conn in self._idle else self._receiving
        if not is_open:
            self._drop(self._leave(queue, conn))
        elif conn.has_request():
            self._hand_over(self._leave(queue, conn))
        elif len(conn.received) > _HEAD_BYTES and not conn.has_head:
            text = f"The head of the request is over {_HEAD_BYTES} bytes."
            refusal = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large", text)
            self._refuse(self._leave(queue, conn), refusal)
        else:
            self._count(conn)
            if queue is self._idle:
                del self._idle[conn]
                self._receiving[conn] = time.monotonic()

    def _on_writable(self, fs: Future[Any], conn: ClientConnection, _: ClientSocket) -> None:
        conn.sock.send_some()
        if conn.sock.unsent:
            self._count(conn)
            self._sending[conn] = time.monotonic()
            self._sending.move_to_end(conn)
        else:
            self.finish_request(self._leave(self._sending, conn), fs)

    def _on_lingering(self, conn: ClientConnection, sock: ClientSocket) -> None:
        if sock.receive(2**20) == b"":
            self._drop(self._leave(self._closing, conn))

    def _wait(self, queue: Queue, conn: ClientConnection, event: int, then: Callable[..., None]) -> None:
        queue[conn] = time.monotonic()
        self.poller.register(conn.sock, event, partial(then, conn))
        self._count(conn)

    def _leave(self, queue: Queue, conn: ClientConnection) -> ClientConnection:
        del queue[conn]
        self.poller.unregister(conn.sock)
        self._held_bytes -= conn.counted_bytes
        conn.counted_bytes = 0
        return conn

    def _count(self, conn: ClientConnection) -> None:
        self._held_bytes += conn.held_bytes - conn.counted_bytes
        conn.counted_bytes = conn.held_bytes

    def _linger(self, conn: ClientConnection) -> None:
        conn.sock.finish_sending()
        self._wait(self._closing, conn, selectors.EVENT_READ, self._on_lingering)

    def _drop(self, conn: ClientConnection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _refuse(self, conn: ClientConnection, refusal: Refusal, *, seconds: float = 0.0) -> None:
        """Send an error, and close the connection."""
        named = request_id.begin()
        first_line = bytes(conn.received[:_LINE_BYTES]).partition(b"\r\n")[0].decode("latin-1")
        self._tell(first_line, refusal, seconds, conn.host)
        request_id.end()
        conn.sock.sendall(refusal.answer(named))
        conn.received = bytearray()
        self._linger(conn)

    @property
    def _observer(self) -> Observer | None:
        return getattr(self.wsgi, "observer", None)

    def _tell(self, first_line: str, refusal: Refusal, seconds: float, client: str) -> None:
        if self._observer is not None:
            self._observer.refused(first_line, refusal.status, len(refusal.body), seconds, client)

    def _warn(self, message: str, *values: object) -> None:
        """Log a warning, but not more than one in five seconds: its cause may occur thousands of times a second."""
        now = time.monotonic()
        if now >= self._warn_at:
            self._warn_at = now + _WARN_SECONDS
            self.log.warning(message, *values)
