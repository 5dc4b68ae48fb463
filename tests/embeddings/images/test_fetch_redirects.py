"""Redirects are followed up to a limit, and each is judged as an address is."""

from __future__ import annotations

import socket
import threading

import pytest

from embeddings.errors import ImageFetchError
from embeddings.images.metered_http import FetchLimits
from tests.embeddings.hostile_server import (
    HostileServer,
    flood,
    raw,
    redirect,
    reply,
)
from tests.embeddings.images.fetched import OTHER_PUBLIC, PHOTO, PUBLIC, Internet, on_loopback


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_a_redirect_is_followed(server: HostileServer, status: str) -> None:
    server.behaviours["/a/old"] = redirect("../photo.jpg", status)
    assert on_loopback().fetch(server.url("/a/old")) == PHOTO


def test_a_redirect_may_be_written_in_utf8(server: HostileServer) -> None:
    server.behaviours["/old"] = raw("HTTP/1.1 302 Found\r\nLocation: /é.jpg\r\n\r\n".encode())
    server.behaviours["/%C3%A9.jpg"] = reply(PHOTO)
    assert on_loopback().fetch(server.url("/old")) == PHOTO


def test_nothing_of_the_body_of_a_redirect_is_waited_for(server: HostileServer) -> None:
    server.behaviours["/old"] = flood(b"HTTP/1.1 302 Found\r\nLocation: /photo.jpg\r\n\r\n", bytes(65536))
    assert on_loopback().fetch(server.url("/old")) == PHOTO


def test_redirects_are_followed_up_to_the_limit_and_no_further(server: HostileServer) -> None:
    server.behaviours |= {"/1": redirect("/2"), "/2": redirect("/3"), "/3": redirect("/photo.jpg")}
    assert on_loopback(FetchLimits(max_redirects=3)).fetch(server.url("/1")) == PHOTO
    with pytest.raises(ImageFetchError, match="redirects more than 2 times"):
        on_loopback(FetchLimits(max_redirects=2)).fetch(server.url("/1"))


def test_a_redirect_loop_ends(server: HostileServer) -> None:
    server.behaviours["/loop"] = redirect("/loop")
    with pytest.raises(ImageFetchError, match="redirects more than 5 times"):
        on_loopback().fetch(server.url("/loop"))
    assert len(server.requests) == 6


def test_redirects_share_the_time_of_the_fetch(server: HostileServer) -> None:
    def slow_loop(connection: socket.socket, closing: threading.Event) -> None:
        closing.wait(0.1)
        redirect("/loop")(connection, closing)

    server.behaviours["/loop"] = slow_loop
    limits = FetchLimits(total_seconds=0.5, max_redirects=1_000_000)
    with pytest.raises(ImageFetchError, match=r"longer than 0\.5 seconds|in time"):
        on_loopback(limits).fetch(server.url("/loop"))


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://shop.example/photo.jpg",
        "gopher://shop.example/photo.jpg",
        "data:image/png;base64,AAAA",
        "http://[::1",
        "http://user:secret@shop.example/photo.jpg",
        "http://shop.example/\x01photo.jpg",
        "http://unknown.example/photo.jpg",
        "http://shop.example:99999/photo.jpg",
        "http://shop.example/" + "a" * 9000,
    ],
)
def test_a_redirect_is_judged_as_an_address_is(server: HostileServer, location: str) -> None:
    server.behaviours["/old"] = redirect(location)
    internet = Internet({"shop.example": [PUBLIC]}, {PUBLIC: server})
    with pytest.raises(ImageFetchError):
        internet.fetcher().fetch("http://shop.example/old")
    assert server.accepted == 1


def test_a_redirect_that_is_no_text_is_refused(server: HostileServer) -> None:
    server.behaviours["/old"] = raw(b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe.jpg\r\n\r\n")
    with pytest.raises(ImageFetchError, match="malformed"):
        on_loopback().fetch(server.url("/old"))


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "fd00::7", "::ffff:10.0.0.7"])
def test_a_redirect_to_an_inner_network_is_not_followed(server: HostileServer, inner: str) -> None:
    literal = f"[{inner}]" if ":" in inner else inner
    server.behaviours |= {"/by-name": redirect("http://inner.example/"), "/by-number": redirect(f"http://{literal}/")}
    with HostileServer({"/": reply(b"secret")}) as inner_server:
        internet = Internet(
            {"shop.example": [PUBLIC], "inner.example": [inner], inner: [inner]}, {PUBLIC: server, inner: inner_server}
        )
        for path in ("/by-name", "/by-number"):
            with pytest.raises(ImageFetchError, match="not on the public Internet"):
                internet.fetcher().fetch(f"http://shop.example{path}")
        assert inner_server.accepted == 0


def test_a_redirect_to_another_host_is_followed_only_if_that_is_allowed(server: HostileServer) -> None:
    server.behaviours["/old"] = redirect("http://other.example/photo.jpg")
    internet = Internet(
        {"shop.example": [PUBLIC], "other.example": [OTHER_PUBLIC]}, dict.fromkeys((PUBLIC, OTHER_PUBLIC), server)
    )
    assert internet.fetcher().fetch("http://shop.example/old") == PHOTO
    with pytest.raises(ImageFetchError, match=r"redirected to http://other\.example/photo\.jpg.* not among those"):
        internet.fetcher(allowed_hosts=frozenset({"shop.example"})).fetch("http://shop.example/old")
