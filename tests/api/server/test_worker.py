"""No thread waits for a client, however slowly it sends and reads: real gunicorn, real sockets, a small app."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from api.server.worker import BufferingWorker
from tests.api.server.small_server import BIG, THREADS, Server, get, post, read_all, read_answer
from tests.waiting import PATIENCE, wait_until

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
def test_slow_clients_occupy_no_thread(server: Server, sent: bytes) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(10 * THREADS):
            client = held.enter_context(server.connect(window=2**16))
            client.sendall(sent)
        assert server.answers()
        threads = server.ask(get("/threads", close=True)).rpartition(b"\r\n")[2]
        assert int(threads) <= THREADS + 1


def test_request_that_arrives_byte_by_byte_is_answered(server: Server) -> None:
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"slow, but whole"):
            client.sendall(bytes([byte]))
        assert read_answer(client) == b"slow, but whole"


def test_large_answer_is_complete_whether_it_is_read_at_once_or_late(server: Server) -> None:
    with server.connect() as client, server.connect(window=2**16) as late:
        late.sendall(get("/big") + get("/threads"))
        client.sendall(get("/big"))
        assert read_answer(client) == bytes(BIG)
        assert server.answers()
        assert read_answer(late) == bytes(BIG)
        assert read_answer(late).isdigit()


def test_requests_sent_ahead_are_answered_in_order(server: Server) -> None:
    bodies = [b"%d" % k * (10_000 * k + 1) for k in range(5)]
    with server.connect() as client:
        *pieces, last = b"".join(post(body) for body in bodies), b"\r\n" + post(b"the last, in two parts")
        for piece in (*pieces, last[:40], last[40:]):
            client.sendall(piece)
        assert [read_answer(client) for _ in bodies] == bodies
        assert read_answer(client) == b"the last, in two parts"


def test_100_continue_is_sent_once_and_only_if_the_body_is_accepted(server: Server) -> None:
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
        assert server.answers()  # by now the loop has received the head
        client.sendall(b"body")
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.0 200")
    assert answer.endswith(b"body")


def test_bodies_that_the_app_does_not_read_are_skipped_or_end_the_connection(server: Server) -> None:
    with server.connect() as client:
        client.sendall(post(b"left unread", path="/") + get("/threads"))
        assert read_answer(client) == b""
        assert read_answer(client).isdigit()
    coded = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    assert b"Connection: close" in server.ask(coded)
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
def test_invalid_request_is_refused_at_once(server: Server, request_bytes: bytes, status: int) -> None:
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


def test_running_request_is_answered_at_shutdown(tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.connect() as idle, server.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue", length=5))
        client.recv(100)
        server.process.terminate()
        wait_until(lambda: "Handling signal: term" in server.log)
        client.sendall(b"whole")
        assert read_all(client).endswith(b"whole")
        assert idle.recv(1) == b""
        assert server.process.wait(PATIENCE) == 0


def test_heartbeats_are_sent_at_intervals() -> None:
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
    with pytest.raises(SystemExit, match="use a proxy for TLS"):
        BufferingWorker.check_config(config, SimpleNamespace(warning=print))


def test_little_is_quoted_of_a_body_that_is_read_as_a_request(server: Server) -> None:
    embedding = b"0.123456789," * 300
    answer = server.ask(post(b"[", length=1) + embedding + b"\r\n\r\n")
    assert b" 400 Bad Request" in answer
    assert answer.count(b"0.123456789") <= 4
    assert server.log.count("0.123456789") <= 4
