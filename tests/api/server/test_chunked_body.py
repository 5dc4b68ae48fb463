"""Bodies that come in chunks are read like others, with the same limits: of bytes and seconds, as they come."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.server.chunked_body import ChunkedBody
from tests.api.server.small_server import Server, get, read_all, read_answer
from tests.properties import examples

HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


def in_chunks(*chunks: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    framed = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return framed + b"0\r\n" + trailers + b"\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With 60 s for a request, and bodies of up to 2 MiB, on one path of up to 4 MiB."""
    limits = "receive_seconds=60, send_seconds=60, bodies=body_sizes.BodySizes(2**21, {'/two-parts': 2**22})"
    with Server(tmp_path_factory.mktemp("chunks"), limits) as server:
        yield server


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("hurried"), "receive_seconds=0.3, send_seconds=60") as server:
        yield server


# The chunks themselves


@examples(200)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=12),
    rest=st.binary(max_size=50),
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=40),
    extension=st.sampled_from([b"", b";a", b' ; name="value"']),
    trailers=st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: 1\r\nB: 2\r\n"]),
)
def test_a_body_is_put_together_wherever_it_is_cut_on_the_way(
    chunks: list[bytes], rest: bytes, steps: list[int], extension: bytes, trailers: bytes
) -> None:
    sent = in_chunks(*chunks, extension=extension, trailers=trailers) + rest
    body, received, place = ChunkedBody(2**20), bytearray(b"head"), 0
    for step in [*steps, len(sent)]:
        received += sent[place : place + step]
        place += step
        body.take(received, 4)
    assert (body.is_whole, body.refusal) == (True, None)
    assert body.body == b"".join(chunks)
    assert received == b"head" + rest


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5 5\r\n",
        b"5\nhello",
        b"5\r\nhello!\r\n",
        b"5\r\nhello\n\n",
        b"9" * 5000,
    ],
)
def test_what_is_no_chunk_is_refused_at_once(sent: bytes) -> None:
    body = ChunkedBody(2**20)
    body.take(bytearray(sent), 0)
    assert body.refusal is not None
    assert (body.refusal.status, body.refusal.title) == (400, "malformed chunk")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"65\r\n", "over 100 bytes"),
        (b"ffffffffffffffff\r\n", "over 100 bytes"),
        (in_chunks(b"x" * 60, b"y" * 41), "over 100 bytes"),
        (b"1;" + b"x" * 4000 + b"\r\na\r\n", None),
        (b"".join(b"1;" + b"x" * 4000 + b"\r\na\r\n" for _ in range(90)), None),
    ],
)
def test_a_body_is_held_to_its_limit_before_it_has_come(sent: bytes, reason: str | None) -> None:
    body = ChunkedBody(100)
    body.take(bytearray(sent), 0)
    if reason is None:
        assert body.refusal is None
    else:
        assert body.refusal is not None
        assert (body.refusal.status, body.refusal.title) == (413, "body too large")
        assert reason in body.refusal.description


def test_far_too_many_chunks_are_refused() -> None:
    body = ChunkedBody(2**20)
    body.take(bytearray(b"1\r\na\r\n" * 2**18), 0)
    assert body.refusal is not None
    assert "too many chunks" in body.refusal.description


def test_trailers_without_end_are_refused() -> None:
    body = ChunkedBody(100)
    body.take(bytearray(b"0\r\n" + b"A: b\r\n" * 1000), 0)
    assert body.refusal is not None
    assert "trailers" in body.refusal.description


# Through the server


@pytest.mark.parametrize("sizes", [[], [5], [1] * 20, [2**17, 3, 2**20]], ids=["none", "one", "tiny", "large"])
def test_a_body_in_chunks_is_read_like_another(server: Server, sizes: list[int]) -> None:
    chunks = [bytes([65 + number % 26]) * size for number, size in enumerate(sizes)]
    with server.connect() as client:
        for _ in range(2):  # the connection goes on
            client.sendall(HEAD + b"\r\n" + in_chunks(*chunks))
            assert read_answer(client) == b"".join(chunks)
        client.sendall(get("/threads"))
        assert read_answer(client).isdigit()


def test_requests_that_follow_one_another_are_told_apart(server: Server) -> None:
    with server.connect() as client:
        client.sendall((HEAD + b"\r\n" + in_chunks(b"one", b"two")) * 3 + get("/threads"))
        assert [read_answer(client) for _ in range(3)] == [b"onetwo"] * 3
        assert read_answer(client).isdigit()


def test_an_empty_body_in_chunks_is_none(server: Server) -> None:
    for method in (b"GET", b"DELETE", b"HEAD"):
        head = method + b" /threads HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n"
        assert server.ask(head + in_chunks()).startswith(b"HTTP/1.1 200")


def test_a_body_that_comes_byte_by_byte_is_read(server: Server) -> None:
    with server.connect() as client:
        for byte in HEAD + b"\r\n" + in_chunks(b"slow", b"but whole"):
            client.sendall(bytes([byte]))
        assert read_answer(client) == b"slowbut whole"


def test_a_client_that_waits_for_100_is_told_to_go_on(server: Server) -> None:
    with server.connect() as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(in_chunks(b"body"))
        assert read_answer(client) == b"body"


def test_a_body_over_the_limit_is_413_though_it_has_no_end(server: Server) -> None:
    with server.connect() as client:
        client.sendall(HEAD + b"\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"20000\r\n" + bytes(2**17) + b"\r\n")
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["title"] == "body too large"
    assert server.answers()


def test_a_body_that_does_not_come_in_time_is_408(hurried: Server) -> None:
    answer = hurried.ask(HEAD + b"\r\n5\r\nhe")
    assert answer.startswith(b"HTTP/1.1 408")
    assert hurried.answers()


def test_a_malformed_chunk_is_400_and_ends_the_connection(server: Server) -> None:
    answer = server.ask(HEAD + b"\r\nfive\r\nhello\r\n0\r\n\r\n" + get("/threads"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["title"] == "malformed chunk"


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 5\r\n",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD + b"Transfer-Encoding: chunked\r\n",
        HEAD.replace(b"chunked", b"chunked, chunked"),
        HEAD.replace(b"chunked", b"chunked, identity"),
    ],
    ids=["with a length", "HTTP/1.0", "twice", "chunks in chunks", "not last"],
)
def test_a_request_whose_end_two_servers_might_see_differently_is_refused(server: Server, head: bytes) -> None:
    answer = server.ask(head + b"\r\n" + in_chunks(b"hello") + get("/threads"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_nothing_is_kept_of_what_chunks_add_to_a_body() -> None:
    body, received = ChunkedBody(2**20), bytearray()
    for _ in range(1000):
        received += b"1;" + b"x" * 900 + b"\r\na\r\n"
        body.take(received, 0)
        assert not received
    assert len(body.body) == 1000
