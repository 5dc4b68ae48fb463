"""No server can make a fetch take more time or memory than its limits."""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc
import zlib
from typing import Any

import pytest

from embeddings.errors import ImageFetchError
from embeddings.images.fetch import ImageFetcher
from embeddings.images.metered_http import FetchLimits
from tests.embeddings.hostile_server import (
    Behaviour,
    HostileServer,
    chunked,
    drip,
    flood,
    raw,
    reply,
    silence,
)
from tests.embeddings.images.fetched import HURRIED, OK, PUBLIC, Internet, on_loopback


def test_a_body_of_the_largest_size_is_fetched_and_one_byte_more_is_not(server: HostileServer) -> None:
    server.behaviours |= {
        "/fits": reply(bytes(1000)),
        "/exceeds": reply(bytes(1001)),
        "/streams": raw(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1001)),
    }
    fetcher = on_loopback(FetchLimits(max_bytes=1000))
    assert fetcher.fetch(server.url("/fits")) == bytes(1000)
    for path in ("/exceeds", "/streams"):
        with pytest.raises(ImageFetchError, match="larger than 1,000 bytes"):
            fetcher.fetch(server.url(path))


def test_a_body_that_says_it_is_too_large_is_not_waited_for(server: HostileServer) -> None:
    server.behaviours["/huge"] = silence(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    with pytest.raises(ImageFetchError, match="larger than 100,000 bytes"):
        on_loopback().fetch(server.url("/huge"))


@pytest.mark.parametrize(
    "endless",
    [
        flood(OK + b"\r\n", bytes(65536)),
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65536) + b"\r\n"),
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n\0\r\n" * 1000),
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536),
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: x\r\n" * 1000),
        flood(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"")),
        flood(OK, b"X-Header: x\r\n" * 1000),
        flood(OK + b"X-Header: ", b"x" * 65536),
        flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        flood(b"", b"x" * 65536),
        flood(b"HTTP/1.1 200 ", b"x" * 65536),
    ],
)
def test_an_answer_without_end_is_cut_short_in_little_memory(server: HostileServer, endless: Behaviour) -> None:
    server.behaviours["/endless"] = endless
    tracemalloc.start()
    try:
        with pytest.raises(ImageFetchError) as refusal:
            on_loopback().fetch(server.url("/endless"))
        assert "longer than" not in str(refusal.value)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_compression_bomb_is_not_blown_up(server: HostileServer, times: int, framing: str) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
    for _ in range(times - 1):
        bomb = gzip.compress(bomb)
    coding = "Content-Encoding: " + ", ".join(["gzip"] * times)
    server.behaviours["/bomb"] = reply(bomb, coding) if framing == "length" else raw(chunked([bomb], coding))
    tracemalloc.start()
    try:
        with pytest.raises(ImageFetchError, match="larger than 1,000,000 bytes"):
            on_loopback(FetchLimits(max_bytes=1_000_000)).fetch(server.url("/bomb"))
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "dripping",
    [
        drip(OK + b"Content-Length: 1000\r\n\r\n", b"x"),
        drip(OK + b"\r\n", b"x"),
        drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"")),
        drip(OK, b"X-Header: x\r\n"),
        drip(OK + b"X-Header: ", b"x"),
        drip(b"H", b"T"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_an_answer_that_drips_ends_with_the_time_of_the_fetch(server: HostileServer, dripping: Behaviour) -> None:
    server.behaviours["/slow"] = dripping
    with pytest.raises(ImageFetchError, match=r"longer than 0\.3 seconds|in time"):
        on_loopback(HURRIED).fetch(server.url("/slow"))


@pytest.mark.parametrize("prefix", [b"", OK, OK + b"Content-Length: 9\r\n\r\nabc"])
def test_a_server_that_falls_silent_is_not_waited_for(server: HostileServer, prefix: bytes) -> None:
    server.behaviours["/silent"] = silence(prefix)
    with pytest.raises(ImageFetchError, match="did not answer in time"):
        on_loopback(FetchLimits(read_seconds=0.2)).fetch(server.url("/silent"))


def test_a_connection_that_is_not_taken_up_is_not_waited_for() -> None:
    # The queue of a listener that accepts nobody fills up; then the system leaves connections unanswered.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        try:
            with pytest.raises(ImageFetchError, match="did not answer in time"):
                on_loopback(FetchLimits(connect_seconds=0.2)).fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            for sock in waiting:
                sock.close()


def test_the_time_that_a_name_server_takes_counts(server: HostileServer) -> None:
    internet = Internet({"shop.example": [PUBLIC]}, {PUBLIC: server})

    def slow(host: str, port: int) -> Any:
        time.sleep(0.4)
        return internet.resolve(host, port)

    with pytest.raises(ImageFetchError, match=r"longer than 0\.3 seconds"):
        ImageFetcher(HURRIED, resolve=slow, dial=internet.dial).fetch("http://shop.example/photo.jpg")
    assert internet.dialled == []


def test_nothing_is_sent_over_a_connection_that_took_all_the_time() -> None:
    near, far = socket.socketpair()

    def slow(address: tuple[str, int], seconds: float) -> socket.socket:
        time.sleep(0.4)
        return near

    with far:
        with pytest.raises(ImageFetchError, match=r"longer than 0\.3 seconds"):
            on_loopback(HURRIED, dial=slow).fetch("http://127.0.0.1/photo.jpg")
        far.setblocking(False)
        assert far.recv(1) == b"", "neither a byte nor an open connection is left"
