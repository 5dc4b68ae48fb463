"""What a fetch brings home, and what it refuses, against servers and names that mean harm."""

from __future__ import annotations

import gzip
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embeddings.errors import HostUnreachableError, ImageFetchError
from embeddings.images.metered_http import FetchLimits
from tests.embeddings.hostile_server import (
    Behaviour,
    HostileServer,
    chunked,
    raw,
    redirect,
    reply,
    silence,
)
from tests.embeddings.images.fetched import HURRIED, OK, OTHER_PUBLIC, PHOTO, PUBLIC, Internet, on_loopback, reset


def test_a_photo_comes_with_its_query_and_without_its_fragment(server: HostileServer) -> None:
    assert on_loopback().fetch(server.url("/photo.jpg?size=2#top")) == PHOTO
    assert server.requests[0].startswith("GET /photo.jpg?size=2 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in server.requests[0]


def test_nothing_of_the_environment_is_sent_or_obeyed(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.behaviours["/first"] = reply(b"", "Location: /photo.jpg", "Set-Cookie: a=b; Path=/", status="302 Found")

    assert on_loopback(user_agent="us").fetch(server.url("/first")) == PHOTO

    names = {line.split(":")[0] for line in server.requests[1].splitlines()[1:] if line}
    assert names == {"Host", "User-Agent", "Accept-Encoding", "Connection"}
    assert "User-Agent: us\r\n" in server.requests[1]
    assert "Accept-Encoding: identity\r\n" in server.requests[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10240\r\n\r\n" + PHOTO,
        b"HTTP/1.0 200 OK\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nContent-Length: 10240, 10240\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n" + PHOTO + b"more than was declared",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + PHOTO,
        chunked([PHOTO[:1000], PHOTO[1000:]]),
        chunked([gzip.compress(PHOTO)], "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(PHOTO),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + zlib.compress(PHOTO),
    ],
)
def test_an_honest_answer_is_understood_however_it_is_framed(server: HostileServer, answer: bytes) -> None:
    server.behaviours["/photo.jpg"] = raw(answer)
    assert on_loopback().fetch(server.url("/photo.jpg")) == PHOTO


def test_an_ipv6_address_is_fetched_from() -> None:
    with HostileServer({"/photo.jpg": reply(PHOTO)}, address="::1") as server:
        assert on_loopback().fetch(server.url("/photo.jpg")) == PHOTO
        assert f"Host: [::1]:{server.port}\r\n" in server.requests[0]


def test_a_name_in_any_script_is_asked_for_in_ascii(server: HostileServer) -> None:
    internet = Internet({"xn--bcher-kva.example": [PUBLIC]}, {PUBLIC: server})
    assert internet.fetcher().fetch("HTTP://BÜCHER.example:8080/photo.jpg") == PHOTO
    assert "Host: xn--bcher-kva.example:8080\r\n" in server.requests[0]


def test_spaces_and_accents_in_an_address_are_escaped(server: HostileServer) -> None:
    server.behaviours["/caf%C3%A9%20cr%C3%A8me.jpg"] = reply(PHOTO)
    assert on_loopback().fetch(f" {server.url('/café crème.jpg')} ") == PHOTO


def test_the_next_address_of_a_name_is_tried_when_one_is_dead(server: HostileServer) -> None:
    internet = Internet({"shop.example": [OTHER_PUBLIC, PUBLIC]}, {PUBLIC: server})
    assert internet.fetcher().fetch("http://shop.example/photo.jpg") == PHOTO
    assert internet.dialled == [OTHER_PUBLIC, PUBLIC]


@pytest.mark.parametrize(
    "status",
    [
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "300 Multiple Choices",
        "304 Not Modified",
        "302 Found",
        "404 Not Found",
        "500 Internal Server Error",
        "999 Whatever",
    ],
)
def test_only_status_200_counts(server: HostileServer, status: str) -> None:
    server.behaviours["/photo.jpg"] = reply(PHOTO, status=status)
    with pytest.raises(ImageFetchError, match=f"status {status[:3]}, not 200"):
        on_loopback().fetch(server.url("/photo.jpg"))


@pytest.mark.parametrize(
    "broken",
    [
        raw(b""),
        reset,
        raw(b"\r\n\r\n"),
        raw(b"<html>not HTTP at all</html>"),
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(bytes(range(256)) * 8),
        raw(b"\x15\x03\x01\x00\x02\x02\x50"),
        raw(b"HTTP/1.1\r\n\r\n"),
        raw(b"HTTP/1.1 abc OK\r\n\r\n"),
        raw(b"HTTP/9.9 200 OK\r\n\r\n"),
        raw(b"HTTP/1.1 200"),
        raw(OK + b"Content-Length: 5, 6\r\n\r\nabcde"),
        raw(OK + b"Content-Length: 20000\r\n\r\n" + PHOTO),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nlarge\r\nabcde\r\n0\r\n\r\n"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n"),
        raw(OK + b"Content-Encoding: gzip\r\n\r\nnot gzip at all"),
        raw(OK + b"Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip, gzip, gzip\r\n\r\n" + PHOTO),
    ],
)
def test_an_answer_that_breaks_off_or_makes_no_sense_is_refused(server: HostileServer, broken: Behaviour) -> None:
    server.behaviours["/broken"] = broken
    with pytest.raises(ImageFetchError, match="Cannot fetch http://127"):
        on_loopback(FetchLimits(read_seconds=5)).fetch(server.url("/broken"))


def test_a_port_where_nobody_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ImageFetchError, match="could not be made"):
        on_loopback().fetch(f"http://127.0.0.1:{port}/")
    with pytest.raises(ImageFetchError, match="could not be made"):
        on_loopback().fetch("http://127.0.0.1:0/")


def test_what_lies_with_the_host_is_told_from_what_lies_with_the_image(server: HostileServer) -> None:
    server.behaviours |= {"/gone": reply(b"", status="404 Gone"), "/silent": silence(b""), "/empty": reply(b"")}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for unreachable in (server.url("/silent"), f"http://127.0.0.1:{port}/", "http://nobody.invalid/"):
        with pytest.raises(HostUnreachableError):
            on_loopback(HURRIED).fetch(unreachable)
    for of_the_image in (server.url("/gone"), server.url("/empty"), "no address"):
        with pytest.raises(ImageFetchError) as error:
            on_loopback().fetch(of_the_image)
        assert not isinstance(error.value, HostUnreachableError)


def test_threads_share_a_fetcher(server: HostileServer) -> None:
    server.behaviours |= {f"/{number}": reply(b"%d" % number * 5000) for number in range(40)}
    server.behaviours |= {f"/old{number}": redirect(f"/{number}") for number in range(40)}
    fetcher = on_loopback()
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda number: fetcher.fetch(server.url(f"/old{number}")), range(40)))
    assert bodies == [b"%d" % number * 5000 for number in range(40)]
