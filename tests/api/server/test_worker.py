"""However slowly clients send and read, no thread waits for them. Real gunicorn, real sockets, a small app."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from api.server.connection import ClientSocket
from api.server.worker import BufferingWorker
from runtime import request_id
from runtime.logs import RequestIdFilter
from tests.end_to_end.service import ROOT, free_port
from tests.photo_server import wait_until

THREADS = 2
BIG = 8 * 2**20  # bytes: more than the kernel keeps for a client that does not read
PIECES, PIECE = 64, 2**19  # of an answer that is made while it is sent, and the bytes of each
CONFIGURATION = f"""
import sys, threading
sys.path[:0] = [{str(ROOT)!r}, {{folder!r}}]
from api.server import client_limits
from api.server import body_sizes
from api.server import worker

class BufferingWorker(worker.BufferingWorker):
    limits = client_limits.ClientLimits({{limits}})

wsgi_app, worker_class, workers, threads = "app:app", BufferingWorker, 1, {THREADS}
bind, control_socket_disable = "127.0.0.1:{{port}}", True
keepalive, worker_connections = 60, {{connections}}
"""
APP = f"""
import threading

from api.server.lazy_answer import lazily

go = threading.Event()
made = []

def in_pieces():
    for number in range({PIECES}):
        made.append(number)
        yield bytes([number]) * {PIECE}

def app(environ, start_response):
    path = environ["PATH_INFO"]
    parts = []
    if path == "/echo":
        parts = [environ["wsgi.input"].read()]
    elif path == "/big":
        parts = [bytes({BIG})]
    elif path == "/two-parts":
        start_response("200 OK", [("Content-Length", "{BIG + 3}")])
        yield bytes({BIG})
        go.wait(20)
        parts = [b"end"]
    elif path == "/lazy":
        start_response("200 OK", [("Content-Length", "{PIECES * PIECE}")])
        yield from lazily(in_pieces(), environ, held_bytes=1000)
    elif path == "/made":
        parts = [b"%d" % len(made)]
    elif path == "/go":
        go.set()
    elif path == "/threads":
        parts = [b"%d" % threading.active_count()]
    if path not in ("/two-parts", "/lazy"):
        start_response("200 OK", [("Content-Length", str(sum(map(len, parts))))])
    yield from parts
"""


class Server:
    """gunicorn with the worker; leaving its `with` block stops it, and looks for tracebacks in its log."""

    def __init__(self, folder: Path, limits: str = "", connections: int = 1000) -> None:
        self.port = free_port()
        (folder / "app.py").write_text(APP)
        self._configuration = folder / "gunicorn_conf.py"
        self._configuration.write_text(
            CONFIGURATION.format(folder=str(folder), port=self.port, limits=limits, connections=connections)
        )
        self._log = folder / "log"

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def worker_pid(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def __enter__(self) -> Server:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", str(self._configuration)],
                env={name: value for name, value in os.environ.items() if not name.startswith(("GUNICORN", "WEB_"))},
                stdout=log,
                stderr=log,
            )
        wait_until(self._listens)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill() if error[0] else self.process.terminate()
        self.process.wait(30)
        assert "Traceback" not in self.log

    def connect(self, *, window: int | None = None) -> socket.socket:
        client = socket.socket()
        client.settimeout(20)
        if window is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        try:
            client.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        return client

    def ask(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes until the server closes."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)

    def answers(self) -> bool:
        return self.ask(get("/", close=True)).startswith(b"HTTP/1.1 200")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log
        with contextlib.suppress(ConnectionError):
            return self.answers()
        return False


def get(path: str, *headers: str, close: bool = False) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, *(["Connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes, *headers: str, path: str = "/echo", version: str = "1.1", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes, or breaks the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(2**16):
            parts.append(part)
    return b"".join(parts)


def read_answer(client: socket.socket) -> bytes:
    """Read one answer that says its length; return its body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(1)
    size = re.search(rb"Content-Length: (\d+)", answer)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert size is not None
    body = b""
    while len(body) < int(size[1]):
        body += client.recv(int(size[1]) - len(body))
    return body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the limits that nothing here should meet."""
    with Server(tmp_path_factory.mktemp("patient"), "receive_seconds=60, send_seconds=60") as server:
        yield server


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With limits that are met at once: 0.3 s, 40 connections, 1 MiB."""
    limits = "receive_seconds=0.3, send_seconds=0.3, buffer_bytes=2**20"
    with Server(tmp_path_factory.mktemp("strict"), limits, connections=40) as server:
        yield server


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With one path that takes larger bodies than others."""
    with Server(tmp_path_factory.mktemp("roomy"), "bodies=body_sizes.BodySizes(2**20, {'/echo': 2**22})") as server:
        yield server


SLOW = {
    "nothing sent": b"",
    "half a head": get("/")[:-2],
    "half a body": post(b"half", length=8),
    "a body announced": post(b"", "Expect: 100-continue", length=8),
    "chunks": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    "the answer not read": get("/big"),
    "open after the last answer": get("/", close=True),
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
def test_slow_clients_hold_no_thread(server: Server, sent: bytes) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(10 * THREADS):
            client = held.enter_context(server.connect(window=2**16))
            client.sendall(sent)
        assert server.answers()
        threads = server.ask(get("/threads", close=True)).rpartition(b"\r\n")[2]
        assert int(threads) <= THREADS + 1


def test_request_that_comes_byte_by_byte_is_answered(server: Server) -> None:
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"slow, but whole"):
            client.sendall(bytes([byte]))
        assert read_answer(client) == b"slow, but whole"


def test_large_answer_is_whole_read_at_once_or_late(server: Server) -> None:
    with server.connect() as client, server.connect(window=2**16) as late:
        late.sendall(get("/big") + get("/threads"))
        client.sendall(get("/big"))
        assert read_answer(client) == bytes(BIG)
        assert server.answers()
        assert read_answer(late) == bytes(BIG)
        assert read_answer(late).isdigit()


@pytest.mark.parametrize("body", [b"", b"short", bytes(2**17)], ids=["no", "small", "large"])
def test_head_of_an_answer_is_sent_with_its_body_but_does_not_wait_for_one(body: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    with theirs:
        client = ClientSocket(ours)
        client.begin_answer()
        client.sendall(b"head")
        assert select.select([theirs], [], [], 0)[0] == []
        if body:
            client.sendall(body)
            assert theirs.recv(4 + len(body)).startswith(b"head" + body[:1])
        client.end_answer()
        assert body or theirs.recv(100) == b"head"
        client.close()


def test_answer_in_pieces_is_made_as_the_client_takes_it(server: Server) -> None:
    expected = b"".join(bytes([number]) * PIECE for number in range(PIECES))

    def made() -> int:
        return int(server.ask(get("/made", close=True)).rpartition(b"\r\n")[2])

    with contextlib.ExitStack() as held:
        late = [held.enter_context(server.connect(window=2**16)) for _ in range(10)]
        for client in late:
            client.sendall(get("/lazy") + get("/threads"))
        assert server.answers()
        assert made() < 10 * PIECES / 2  # what the kernel took, and a piece for each
        with server.connect() as client:
            client.sendall(get("/lazy"))
            assert read_answer(client) == expected
        assert read_answer(late[3]) == expected
        assert read_answer(late[3]).isdigit()
        before = made()
    assert server.answers()
    assert made() < before + 10  # clients that went away


def test_answer_in_pieces_that_is_not_read_is_given_up(strict: Server) -> None:
    with strict.connect(window=2**16) as client:
        client.sendall(get("/lazy"))
        name = "{}:{}".format(*client.getsockname())
        wait_until(lambda: f"closed on {name}, who did not take all of an answer" in strict.log)
        assert len(read_all(client)) < PIECES * PIECE


def test_connection_is_broken_off_when_a_piece_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterator[bytes]:
        yield b"first"
        raise OSError("the disk is gone")

    ours, theirs = socket.socketpair()
    with theirs:
        client = ClientSocket(ours)
        client.send_later(broken(), held_bytes=100)
        assert read_all(theirs) == b"first"
        assert (client.unsent_bytes, len(client.unsent)) == (0, 0)
        assert "the disk is gone" in caplog.text
        client.close()


def test_pieces_that_are_made_after_the_request_still_log_its_id(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterator[bytes]:
        logging.getLogger("x").warning("a piece")
        yield b"first"
        raise OSError("the disk is gone")

    caplog.handler.addFilter(RequestIdFilter())
    ours, theirs = socket.socketpair()
    with theirs:
        client = ClientSocket(ours)
        client.sendall(bytes(BIG))
        request_id.begin("the-request")
        client.send_later(broken(), held_bytes=100)
        request_id.end()
        assert not caplog.records
        theirs.setblocking(False)
        while client.unsent:
            client.send_some()
            with contextlib.suppress(BlockingIOError):
                theirs.recv(2**20)
        client.close()
    assert [vars(record)["request_id"] for record in caplog.records] == ["the-request"] * 2


def test_pieces_come_after_what_was_sent_before() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        client = ClientSocket(ours)
        client.sendall(bytes(BIG))
        client.send_later(iter([b"", b"the ", b"end"]), held_bytes=100)
        assert client.unsent_bytes == BIG + 100
        received = b""
        theirs.setblocking(False)
        while client.unsent:
            client.send_some()
            with contextlib.suppress(BlockingIOError):
                received += theirs.recv(2**20)
        client.close()
        theirs.setblocking(True)
        assert received + read_all(theirs) == bytes(BIG) + b"the end"
        assert client.unsent_bytes == 0


def test_parts_of_an_answer_keep_their_order_though_the_client_catches_up(server: Server) -> None:
    with server.connect() as client:
        client.sendall(get("/two-parts", close=True))
        client.settimeout(0.5)
        answer = bytearray()
        with contextlib.suppress(TimeoutError):
            while True:  # all that was sent of the first part: there is room again
                answer += client.recv(2**20)
        client.settimeout(20)
        assert server.ask(get("/go", close=True))
        answer += read_all(client)
    assert answer.endswith(bytes(BIG) + b"end")


def test_requests_sent_ahead_are_answered_in_order(server: Server) -> None:
    bodies = [b"%d" % k * (10_000 * k + 1) for k in range(5)]
    with server.connect() as client:
        *pieces, last = b"".join(post(body) for body in bodies), b"\r\n" + post(b"the last, in two parts")
        for piece in (*pieces, last[:40], last[40:]):
            client.sendall(piece)
        assert [read_answer(client) for _ in bodies] == bodies
        assert read_answer(client) == b"the last, in two parts"


def test_continue_is_said_once_and_only_where_the_body_is_wanted(server: Server) -> None:
    body = bytes(2**20)
    with server.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue", length=len(body)))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert read_answer(client) == body
        client.sendall(post(b"whole already", "Expect: 100-continue"))
        assert read_answer(client) == b"whole already"
    too_long = server.ask(post(b"", "Expect: 100-continue", path="/", length=2**21))
    assert too_long.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in too_long
    with server.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue", version="1.0", length=4))
        assert server.answers()  # so the loop has seen the head by now
        client.sendall(b"body")
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.0 200")
    assert answer.endswith(b"body")


def test_bodies_that_the_app_leaves_are_passed_over_or_end_the_connection(server: Server) -> None:
    with server.connect() as client:
        client.sendall(post(b"left unread", path="/") + get("/threads"))
        assert read_answer(client) == b""
        assert read_answer(client).isdigit()
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"Connection: close" in server.ask(chunked)
    assert b"Connection: close" in server.ask(post(b"x" * 2**21, path="/"))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n", 400),
        (b"\r\n\r\n", 400),
        (get("/", "X: " + "y" * 9000), 431),
        (get("/", *["X: " + "y" * 5000] * 20)[:-2], 431),
        (get("/", "Content-Length: 0", "Content-Length: 0"), 400),
        (post(b"", "Expect: a miracle"), 417),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_at_once(server: Server, request_bytes: bytes, status: int) -> None:
    assert server.ask(request_bytes).startswith(b"HTTP/1.1 %d" % status)


def test_a_request_line_that_is_too_long_is_told_of_the_way_to_name_many_logos(server: Server) -> None:
    answer = server.ask(b"GET /api/v1/ann/batch?logo_ids=" + b"1" * 9000 + b" HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 414")
    assert b"). To search for many logos, send their ids in a POST to /api/v1/ann/batch." in answer


def test_clients_that_go_away_leave_nothing_behind(server: Server) -> None:
    descriptors = Path(f"/proc/{server.worker_pid}/fd")
    before = len([*descriptors.iterdir()])
    for sent, reset in itertools.product([b"", get("/")[:-1], post(b"x", length=2), get("/"), get("/big")], [0, 1]):
        for _ in range(5):
            with server.connect() as client:
                client.sendall(sent)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
    assert server.answers()
    wait_until(lambda: len([*descriptors.iterdir()]) <= before)


@pytest.mark.parametrize("sent", [get("/")[:-2], post(b"a", length=999)], ids=["head", "body"])
@pytest.mark.parametrize("drip", [b"", b"a"], ids=["then silence", "then byte by byte"])
def test_request_that_takes_too_long_is_told_so(strict: Server, sent: bytes, drip: bytes) -> None:
    with strict.connect() as client:
        client.sendall(sent)
        client.settimeout(0.05)
        answer = b""
        for _ in range(400):  # 0.3 s are allowed in all, though the client is never silent
            with contextlib.suppress(TimeoutError):
                answer = client.recv(2**16)
            if answer:
                break
            with contextlib.suppress(ConnectionError):
                client.sendall(drip)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body) == {"title": "request too slow", "description": "It did not come whole within 0.3 s."}


def test_answer_that_is_not_read_is_given_up(strict: Server) -> None:
    with strict.connect(window=2**16) as client:
        client.sendall(get("/big"))
        name = "{}:{}".format(*client.getsockname())
        wait_until(lambda: f"closed on {name}, who did not take all of an answer" in strict.log)
        assert len(read_all(client)) < BIG


def test_new_connections_find_room_among_idle_ones(strict: Server) -> None:
    with contextlib.ExitStack() as held:
        idle = [held.enter_context(strict.connect()) for _ in range(100)]
        assert strict.answers()
        assert idle[0].recv(1) == b""
        assert "40 connections are open, as many as can be held: closing old ones" in strict.log
        idle[-1].sendall(get("/threads"))
        assert read_answer(idle[-1]).isdigit()


def test_memory_held_for_slow_clients_is_limited(tmp_path: Path) -> None:
    half = post(bytes(700_000), length=800_000)
    with Server(tmp_path, "receive_seconds=60, buffer_bytes=2**20") as server, contextlib.ExitStack() as held:
        first, second = (held.enter_context(server.connect()) for _ in range(2))
        first.sendall(half)
        second.sendall(half)
        assert read_all(first) == b""  # it was closed for the second
        second.sendall(bytes(100_000))
        assert read_answer(second) == bytes(800_000)
        assert "bytes are held for slow clients, more than allowed" in server.log


@pytest.mark.parametrize(
    ("path", "waits"),
    [
        ("/echo", True),
        ("http://host:1/echo", True),
        ("HTTP://host:1/echo", True),
        ("a+b://host/echo", True),
        ("/%65cho?a=/b", True),
        ("/echo/", True),
        ("/mounted/echo", True),
        ("/echo/other", False),
        ("/?/echo", False),
    ],
)
def test_larger_bodies_are_waited_for_where_they_are_wanted(roomy: Server, path: str, waits: bool) -> None:
    body = bytes(2**20 + 1)
    with roomy.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue", path=path, length=len(body)))
        answer = client.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 100 Continue" if waits else b"HTTP/1.1 200")
        if waits:
            client.sendall(body)
            assert client.recv(2**16).startswith(b"HTTP/1.1 200")


def test_large_bodies_that_wait_for_threads_are_limited_in_memory(tmp_path: Path) -> None:
    large = post(bytes(700_000), "Connection: close", path="/two-parts")
    sizes = "bodies=body_sizes.BodySizes(1000, {'/two-parts': 2**20, '/echo': 2**20}), buffer_bytes=2**20"
    with Server(tmp_path, sizes) as server, server.connect() as first, server.connect() as second:
        first.sendall(large)
        begun = first.recv(100)
        assert begun.startswith(b"HTTP/1.1 200")
        second.sendall(large)
        head, _, body = read_all(second).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: 1\r\n" in head + b"\r\n"
        assert json.loads(body)["title"] == "too busy"
        assert server.ask(post(b"small", "Connection: close")).endswith(b"small")
        server.ask(get("/go", close=True))
        assert len(begun + read_all(first)) > BIG
        assert server.ask(post(bytes(700_000), "Connection: close")).endswith(bytes(700_000))


def test_large_bodies_make_room_before_smaller_ones_do(tmp_path: Path) -> None:
    sizes = "bodies=body_sizes.BodySizes(2**20, {'/echo': 2**22}), receive_seconds=60, buffer_bytes=2**20"
    with Server(tmp_path, sizes) as server, server.connect() as small, server.connect() as large:
        small.sendall(post(bytes(700_000), length=800_000))
        large.sendall(post(bytes(700_000), length=2**21))
        assert large.recv(100).startswith(b"HTTP/1.1 503")
        small.sendall(bytes(100_000))
        assert read_answer(small) == bytes(800_000)


def test_worker_without_descriptors_says_so_and_goes_on(tmp_path: Path) -> None:
    def holds(server: Server, count: int) -> bool:
        """Tell whether so many connections stay open at once."""
        with contextlib.ExitStack() as held:
            clients = [held.enter_context(server.connect()) for _ in range(count)]
            assert server.answers()
            return not select.select(clients, [], [], 0)[0]

    with Server(tmp_path) as server:
        pid = server.worker_pid
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (80, most))
        assert not holds(server, 100)
        assert "Too many open files, with" in server.log
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        wait_until(lambda: holds(server, 100))
        assert server.worker_pid == pid


def test_request_under_way_at_shutdown_is_answered(tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.connect() as idle, server.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue", length=5))
        client.recv(100)
        server.process.terminate()
        wait_until(lambda: "Handling signal: term" in server.log)
        client.sendall(b"whole")
        assert read_all(client).endswith(b"whole")
        assert idle.recv(1) == b""
        assert server.process.wait(20) == 0


def test_signs_of_life_are_given_now_and_then() -> None:
    given: list[float] = []
    worker = BufferingWorker.__new__(BufferingWorker)
    worker._notify_at = 0.0
    worker.tmp = SimpleNamespace(notify=lambda: given.append(0.0))
    for _ in range(1000):
        worker.notify()
    assert len(given) == 1
    time.sleep(0.6)
    worker.notify()
    assert len(given) == 2


@pytest.mark.parametrize(
    ("setting", "value"), [("certfile", "x.pem"), ("http_protocols", "h1,h2"), ("proxy_protocol", "v2")]
)
def test_protocols_that_the_loop_does_not_know_stop_the_start(setting: str, value: str) -> None:
    config = Config()
    config.set(setting, value)
    with pytest.raises(SystemExit, match="proxy before it"):
        BufferingWorker.check_config(config, SimpleNamespace(warning=print))


def test_rest_of_a_body_that_is_no_request_is_hardly_quoted(server: Server) -> None:
    embedding = b"0.123456789," * 300
    answer = server.ask(post(b"[", length=1) + embedding + b"\r\n\r\n")
    assert b" 400 Bad Request" in answer
    assert answer.count(b"0.123456789") <= 4
    assert server.log.count("0.123456789") <= 4
