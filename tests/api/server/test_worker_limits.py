"""Time, connections and memory of slow clients are limited."""

from __future__ import annotations

import contextlib
import json
import resource
import select
from pathlib import Path

import pytest

from tests.api.server.small_server import BIG, Server, get, post, read_all, read_answer
from tests.waiting import wait_until


@pytest.mark.parametrize("sent", [get("/")[:-2], post(b"a", length=999)], ids=["head", "body"])
@pytest.mark.parametrize("drip", [b"", b"a"], ids=["then silence", "then byte by byte"])
def test_request_that_takes_too_long_is_408(strict: Server, sent: bytes, drip: bytes) -> None:
    with strict.connect() as client:
        client.sendall(sent)
        client.settimeout(0.05)
        answer = b""
        for _ in range(400):  # the limit of 0.3 s is for the whole request, even if the client keeps sending
            with contextlib.suppress(TimeoutError):
                answer = client.recv(2**16)
            if answer:
                break
            with contextlib.suppress(ConnectionError):
                client.sendall(drip)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body) == {"title": "request too slow", "description": "The request did not arrive within 0.3 s."}


def test_answer_that_is_not_read_is_dropped(strict: Server) -> None:
    with strict.connect(window=2**16) as client:
        client.sendall(get("/big"))
        name = "{}:{}".format(*client.getsockname())
        wait_until(lambda: f"closed the connection of {name}, which did not read its answer" in strict.log)
        assert len(read_all(client)) < BIG


def test_idle_connections_make_room_for_new_ones(strict: Server) -> None:
    with contextlib.ExitStack() as held:
        idle = [held.enter_context(strict.connect()) for _ in range(100)]
        assert strict.answers()
        assert idle[0].recv(1) == b""
        assert "40 connections are open, as many as allowed: closing old ones" in strict.log
        idle[-1].sendall(get("/threads"))
        assert read_answer(idle[-1]).isdigit()


def test_memory_held_for_slow_clients_is_limited(tmp_path: Path) -> None:
    half = post(bytes(700_000), length=800_000)
    with Server(tmp_path, "receive_seconds=60, buffer_bytes=2**20") as server, contextlib.ExitStack() as held:
        first, second = (held.enter_context(server.connect()) for _ in range(2))
        first.sendall(half)
        second.sendall(half)
        assert read_all(first) == b""  # closed to make room for the second
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
def test_larger_bodies_are_received_on_paths_that_accept_them(roomy: Server, path: str, waits: bool) -> None:
    body = bytes(2**20 + 1)
    with roomy.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue", path=path, length=len(body)))
        answer = client.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 100 Continue" if waits else b"HTTP/1.1 200")
        if waits:
            client.sendall(body)
            assert client.recv(2**16).startswith(b"HTTP/1.1 200")


def test_memory_of_large_bodies_that_wait_for_threads_is_limited(tmp_path: Path) -> None:
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


def test_large_bodies_are_closed_before_smaller_ones(tmp_path: Path) -> None:
    sizes = "bodies=body_sizes.BodySizes(2**20, {'/echo': 2**22}), receive_seconds=60, buffer_bytes=2**20"
    with Server(tmp_path, sizes) as server, server.connect() as small, server.connect() as large:
        small.sendall(post(bytes(700_000), length=800_000))
        large.sendall(post(bytes(700_000), length=2**21))
        assert large.recv(100).startswith(b"HTTP/1.1 503")
        small.sendall(bytes(100_000))
        assert read_answer(small) == bytes(800_000)


def test_worker_without_descriptors_warns_and_keeps_serving(tmp_path: Path) -> None:
    def holds(server: Server, count: int) -> bool:
        """Return whether a number of connections stay open at the same time."""
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
