"""How answers of image hosts are read: interim ones over, "later" told apart from "never"."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator

import pytest

from embeddings.errors import HostBusyError, HostUnreachableError, ImageFetchError
from embeddings.images.fetch import ImageFetcher
from tests.embeddings.hostile_server import Behaviour, HostileServer, flood, raw, redirect, reply, silence
from tests.embeddings.images.fetched import HURRIED, PHOTO, on_loopback

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\nContent-Length: 5\r\n\r\n"
FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


def fetch(server: HostileServer, behaviour: Behaviour, fetcher: ImageFetcher | None = None) -> bytes:
    server.behaviours["/photo.jpg"] = behaviour
    return (fetcher or on_loopback()).fetch(server.url("/photo.jpg"))


@pytest.mark.parametrize(
    "before",
    [CONTINUE, PROCESSING, HINTS, HINTS * 2, CONTINUE + HINTS + PROCESSING, b"HTTP/1.1 199 Odd\r\n\r\n", HINTS * 99],
)
def test_interim_answers_are_read_over(server: HostileServer, before: bytes) -> None:
    assert fetch(server, raw(before + FINAL)) == PHOTO


def test_interim_answers_before_a_redirect_and_a_refusal_are_read_over(server: HostileServer) -> None:
    server.behaviours["/moved"] = raw(HINTS + b"HTTP/1.1 302 Found\r\nLocation: /photo.jpg\r\n\r\n")
    server.behaviours["/photo.jpg"] = raw(HINTS + FINAL)
    assert on_loopback().fetch(server.url("/moved")) == PHOTO
    with pytest.raises(ImageFetchError, match="status 404"):
        fetch(server, raw(HINTS + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))


@pytest.mark.parametrize("answer", [CONTINUE, PROCESSING, HINTS])
def test_interim_answers_without_end_are_refused(server: HostileServer, answer: bytes) -> None:
    with pytest.raises(ImageFetchError, match="more than 100 interim answers"):
        fetch(server, flood(b"", answer))


def test_an_interim_answer_and_then_nothing_is_a_server_that_does_not_answer(server: HostileServer) -> None:
    with pytest.raises(HostUnreachableError):
        fetch(server, silence(HINTS), on_loopback(HURRIED))


def test_another_protocol_is_not_switched_to(server: HostileServer) -> None:
    with pytest.raises(ImageFetchError, match="status 101, not 200"):
        fetch(server, raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + FINAL))


@pytest.mark.parametrize("status", ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "504 Late"])
def test_a_host_that_says_later_is_busy(server: HostileServer, status: str) -> None:
    with pytest.raises(HostBusyError, match=f"status {status[:3]}: try again later") as caught:
        fetch(server, reply(PHOTO, "Retry-After: 120", status=status))
    assert caught.value.retry_after == 120


@pytest.mark.parametrize(
    "status", ["400 Bad", "401 No", "403 Forbidden", "404 Not Found", "410 Gone", "500 Oops", "501 No"]
)
def test_a_host_that_says_never_is_not_busy(server: HostileServer, status: str) -> None:
    with pytest.raises(ImageFetchError, match=f"status {status[:3]}, not 200") as caught:
        fetch(server, reply(PHOTO, "Retry-After: 120", status=status))
    assert not isinstance(caught.value, HostBusyError)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 7 ", 7),
        ("99999999", 86_400),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Fri, 99 Dec 2030 23:59:59 GMT", None),
    ],
)
def test_how_long_a_busy_host_wants_to_be_left_alone_is_read(
    server: HostileServer, value: str, seconds: int | None
) -> None:
    with pytest.raises(HostBusyError) as caught:
        fetch(server, reply(b"", f"Retry-After: {value}", status="503 Later"))
    assert caught.value.retry_after == seconds


def test_a_date_to_come_is_read_as_the_seconds_until_then(server: HostileServer) -> None:
    date = email.utils.formatdate(time.time() + 3600, usegmt=True)
    with pytest.raises(HostBusyError) as caught:
        fetch(server, reply(b"", f"Retry-After: {date}", status="429 Later"))
    assert caught.value.retry_after is not None
    assert 3500 < caught.value.retry_after <= 3600


def test_a_host_that_is_busy_behind_a_redirect_is_busy(server: HostileServer) -> None:
    server.behaviours["/moved"] = redirect("/photo.jpg")
    server.behaviours["/photo.jpg"] = reply(b"", status="503 Later")
    with pytest.raises(HostBusyError, match="redirected to"):
        on_loopback().fetch(server.url("/moved"))
