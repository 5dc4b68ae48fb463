"""An answer in pieces is produced as the client reads it, and dropped if it does not."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
from collections.abc import Iterator

import pytest

from api.server.connection import ClientSocket
from runtime import request_id
from runtime.logs import RequestIdFilter
from tests.api.server.small_server import BIG, PIECE, PIECES, Server, get, read_all, read_answer
from tests.waiting import PATIENCE, wait_until


@pytest.mark.parametrize("body", [b"", b"short", bytes(2**17)], ids=["no", "small", "large"])
def test_head_of_an_answer_is_sent_with_its_body_but_does_not_wait_for_one(body: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
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


def test_pieces_of_an_answer_are_produced_as_the_client_reads(server: Server) -> None:
    expected = b"".join(bytes([number]) * PIECE for number in range(PIECES))

    def made() -> int:
        return int(server.ask(get("/made", close=True)).rpartition(b"\r\n")[2])

    with contextlib.ExitStack() as held:
        late = [held.enter_context(server.connect(window=2**16)) for _ in range(10)]
        for client in late:
            client.sendall(get("/lazy") + get("/threads"))
        assert server.answers()
        assert made() < 10 * PIECES / 2  # as much as the kernel buffers, and one piece for each client
        with server.connect() as client:
            client.sendall(get("/lazy"))
            assert read_answer(client) == expected
        assert read_answer(late[3]) == expected
        assert read_answer(late[3]).isdigit()
        before = made()
    assert server.answers()
    assert made() < before + 10  # clients that have closed


def test_answer_in_pieces_that_is_not_read_is_dropped(strict: Server) -> None:
    with strict.connect(window=2**16) as client:
        client.sendall(get("/lazy"))
        name = "{}:{}".format(*client.getsockname())
        wait_until(lambda: f"closed the connection of {name}, which did not read its answer" in strict.log)
        assert len(read_all(client)) < PIECES * PIECE


def test_connection_is_closed_if_a_piece_cannot_be_produced(caplog: pytest.LogCaptureFixture) -> None:
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


def test_pieces_that_are_produced_after_the_request_log_its_id(caplog: pytest.LogCaptureFixture) -> None:
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


def test_pieces_follow_data_that_was_sent_before() -> None:
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


def test_parts_of_an_answer_keep_their_order_when_the_client_catches_up(server: Server) -> None:
    with server.connect() as client:
        client.sendall(get("/two-parts", close=True))
        client.settimeout(0.5)
        answer = bytearray()
        with contextlib.suppress(TimeoutError):
            while True:  # everything sent of the first part, so there is room again
                answer += client.recv(2**20)
        client.settimeout(PATIENCE)
        assert server.ask(get("/go", close=True))
        answer += read_all(client)
    assert answer.endswith(bytes(BIG) + b"end")
