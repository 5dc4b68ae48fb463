"""What a fetch brings home, and what it refuses, against servers and names that mean harm."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from embeddings.errors import HostUnreachableError, ImageFetchError
from embeddings.images.addresses import may_reach
from embeddings.images.fetch import ImageFetcher
from embeddings.images.metered_http import FetchLimits
from tests.embeddings.hostile_server import (
    Behaviour,
    HostileServer,
    chunked,
    drip,
    flood,
    raw,
    redirect,
    reply,
    silence,
)

PHOTO = bytes(range(256)) * 40
LIMITS = FetchLimits(max_bytes=100_000)
HURRIED = FetchLimits(max_bytes=100_000, total_seconds=0.3)
PUBLIC, OTHER_PUBLIC = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


def on_loopback(limits: FetchLimits = LIMITS, **options: Any) -> ImageFetcher:
    return ImageFetcher(limits, allow_private=True, **options)


@dataclass
class Internet:
    """Names and public addresses of our own making, which lead to servers on loopback; no packet leaves the machine."""

    names: Mapping[str, Sequence[str]]
    servers: Mapping[str, HostileServer]
    asked: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (address, port)) for address in self.names[host]]

    def dial(self, address: tuple[str, int], seconds: float) -> socket.socket:
        self.dialled.append(address[0])
        if address[0] not in self.servers:
            raise ConnectionRefusedError
        server = self.servers[address[0]]
        return socket.create_connection((server.address, server.port), seconds)

    def fetcher(self, **options: Any) -> ImageFetcher:
        return ImageFetcher(LIMITS, resolve=self.resolve, dial=self.dial, **options)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer({"/photo.jpg": reply(PHOTO)}) as server:
        yield server


# What is fetched


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


# Redirects


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


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "photo.jpg",
        "/photo.jpg",
        "//shop.example/photo.jpg",
        "shop.example/photo.jpg",
        "http:",
        "http://",
        "http:///photo.jpg",
        "http:photo.jpg",
        "http://?x",
        "http://:80/",
        "file:///etc/passwd",
        "ftp://shop.example/photo.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://shop.example:port/",
        "http://shop.example:65536/",
        "http://shop.example:-1/",
        "http://[::1/",
        "http://[shop.example]/",
        "http://shop..example/",
        "http://" + "a" * 64 + ".example/",
        "http://shop_é\u2028.example/",
        "http://shop.example\\@127.0.0.1/",
        "http://shop.example/\r\nX-Header: 1",
        "http://shop.example/\x00",
        "http://shop.example/\x7f",
        "http://shop.example/" + "a" * 8192,
        "http://someone@shop.example/",
        "http://someone:secret@shop.example/",
        "http://\ud800.example/",
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    dialled: list[object] = []

    def dial(address: tuple[str, int], seconds: float) -> socket.socket:
        dialled.append(address)
        raise ConnectionRefusedError

    with pytest.raises(ImageFetchError):
        ImageFetcher(dial=dial).fetch(url)
    assert dialled == []


def test_a_message_shows_the_address_without_its_secrets(server: HostileServer) -> None:
    with pytest.raises(ImageFetchError) as refusal:
        on_loopback().fetch(server.url("/missing.jpg?token=secret#secret"))
    assert str(refusal.value) == (
        f"Cannot fetch {server.url('/missing.jpg')}: its server answered with status 404, not 200."
    )
    with pytest.raises(ImageFetchError) as refusal:
        on_loopback().fetch("http://someone:secret@shop.example/\n" + "a" * 10_000)
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("allowed", "host", "passes"),
    [
        ("shop.example", "shop.example", True),
        ("Shop.Example.", "SHOP.example", True),
        ("shop.example", "shop.example.", True),
        ("shop.example", "images.shop.example", False),
        ("shop.example", "myshop.example", False),
        (".shop.example", "images.shop.example", True),
        (".shop.example", "a.b.shop.example", True),
        (".shop.example", "shop.example", True),
        (".shop.example", "myshop.example", False),
        (".shop.example", "shop.example.evil.example", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "bücher.example", True),
        ("93.184.215.14", "93.184.215.14", True),
        ("93.184.215.14", "93.184.215.15", False),
        (f"[{OTHER_PUBLIC}]", f"[{OTHER_PUBLIC}]", True),
    ],
)
def test_only_allowed_hosts_are_asked(server: HostileServer, allowed: str, host: str, passes: bool) -> None:
    class Everywhere(dict[str, Sequence[str]]):
        def __contains__(self, host: object) -> bool:
            return True

        def __missing__(self, host: str) -> Sequence[str]:
            return [PUBLIC]

    internet = Internet(Everywhere(), {PUBLIC: server})
    fetcher = internet.fetcher(allowed_hosts=frozenset({allowed, "elsewhere.example"}))
    if passes:
        assert fetcher.fetch(f"http://{host}/photo.jpg") == PHOTO
    else:
        with pytest.raises(ImageFetchError, match="not among those that images may come from"):
            fetcher.fetch(f"http://{host}/photo.jpg")
        assert internet.asked == []


@pytest.mark.parametrize(
    "name", ["", ".", "*.shop.example", "shop.example:80", "http://shop.example", "shop.example/", "a b", "::1", "a@b"]
)
def test_an_allowed_host_that_is_no_host_name_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        ImageFetcher(allowed_hosts=frozenset({name}))


# Inner networks


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC,
        OTHER_PUBLIC,
        "8.8.8.8",
        "172.32.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert may_reach(address, allow_private=False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "198.18.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "168.63.129.16",
        "240.0.0.1",
        "::1",
        "::7f00:1",
        "::808:808",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "100::1",
        "2001:db8::1",
        "2001::7f00:1",
        "64:ff9b:1::808:808",
        "5f00::1",
        "::ffff:127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::168.63.129.16",
        "2002:7f00:1::1",
        "2002:c0a8:1::1",
    ],
)
def test_an_inner_address_may_be_reached_only_if_that_is_allowed(address: str) -> None:
    assert not may_reach(address, allow_private=False)
    assert may_reach(address, allow_private=True)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.250",
        "224.0.1.1",
        "169.254.169.254",
        "::",
        "ff02::1",
        "ff0e::1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:0.0.0.0",
        "::ffff:224.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:e000:1::",
    ],
)
def test_an_address_that_is_nobodys_own_is_never_reached(address: str) -> None:
    assert not may_reach(address, allow_private=False)
    assert not may_reach(address, allow_private=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]"]
)
def test_this_machine_is_not_asked_by_any_of_its_names(server: HostileServer, host: str) -> None:
    with pytest.raises(ImageFetchError, match="not on the public Internet") as refusal:
        ImageFetcher(LIMITS).fetch(server.url("/photo.jpg", host))
    assert server.accepted == 0
    assert host in str(refusal.value)


def test_one_inner_address_among_public_ones_is_enough_to_refuse_a_name(server: HostileServer) -> None:
    internet = Internet({"shop.example": [PUBLIC, "10.0.0.7"]}, {PUBLIC: server, "10.0.0.7": server})
    with pytest.raises(ImageFetchError, match="not on the public Internet") as refusal:
        internet.fetcher().fetch("http://shop.example/photo.jpg")
    assert internet.dialled == []
    assert "10.0.0.7" not in str(refusal.value)


def test_an_allowed_host_must_be_public_too(server: HostileServer) -> None:
    internet = Internet({"shop.example": ["10.0.0.7"]}, {"10.0.0.7": server})
    with pytest.raises(ImageFetchError, match="not on the public Internet"):
        internet.fetcher(allowed_hosts=frozenset({"shop.example"})).fetch("http://shop.example/photo.jpg")


def test_nobodys_own_address_is_refused_even_where_private_ones_are_allowed(server: HostileServer) -> None:
    internet = Internet({"cloud.example": ["169.254.169.254"], "any.example": ["0.0.0.0"]}, {})
    for host in internet.names:
        with pytest.raises(ImageFetchError):
            internet.fetcher(allow_private=True).fetch(f"http://{host}/")
    assert internet.dialled == []


def test_a_name_is_resolved_once_so_that_a_second_answer_changes_nothing(server: HostileServer) -> None:
    with HostileServer({"/photo.jpg": reply(b"secret")}) as inner_server:
        names = {"shop.example": [PUBLIC]}
        internet = Internet(names, {PUBLIC: server, "127.0.0.1": inner_server})

        def rebinding(host: str, port: int) -> Any:
            answer = internet.resolve(host, port)
            names["shop.example"] = ["127.0.0.1"]
            return answer

        fetcher = ImageFetcher(resolve=rebinding, dial=internet.dial)
        assert fetcher.fetch("http://shop.example/photo.jpg") == PHOTO
        with pytest.raises(ImageFetchError, match="not on the public Internet"):
            fetcher.fetch("http://shop.example/photo.jpg")
        assert inner_server.accepted == 0


def test_a_name_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(ImageFetchError, match="cannot be resolved"):
        Internet({}, {}).fetcher().fetch("http://shop.example/")
    with pytest.raises(ImageFetchError, match="could not be made"):
        Internet({"shop.example": []}, {}).fetcher().fetch("http://shop.example/")


# Sizes


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


OK = b"HTTP/1.1 200 OK\r\n"


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


# Time


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


# Answers


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


def reset(connection: socket.socket, _closing: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


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


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, chain = folder / "key.pem", folder / "chain.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:shop.example", "-keyout", key, "-out", chain],
        check=True,
        capture_output=True,
    )
    return key, chain


@pytest.fixture
def tls_server(certificate: tuple[Path, Path]) -> Iterator[HostileServer]:
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with HostileServer({"/photo.jpg": reply(PHOTO), "/slow": drip(OK + b"\r\n", b"x")}, tls=context) as server:
        yield server


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: HostileServer) -> None:
    with pytest.raises(ImageFetchError, match="certificate of its server is not valid"):
        on_loopback().fetch(tls_server.url("/photo.jpg"))
    assert tls_server.requests == []


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(
    tls_server: HostileServer, certificate: tuple[Path, Path]
) -> None:
    internet = Internet({"shop.example": [PUBLIC], "other.example": [PUBLIC]}, {PUBLIC: tls_server})
    fetcher = internet.fetcher(tls=ssl.create_default_context(cafile=certificate[1]))

    assert fetcher.fetch("https://shop.example/photo.jpg") == PHOTO
    assert tls_server.server_names == ["shop.example"]
    assert "Host: shop.example\r\n" in tls_server.requests[0]
    with pytest.raises(ImageFetchError, match="certificate of its server is not valid"):
        fetcher.fetch("https://other.example/photo.jpg")


def test_a_body_that_drips_under_tls_ends_too(tls_server: HostileServer, certificate: tuple[Path, Path]) -> None:
    internet = Internet({"shop.example": [PUBLIC]}, {PUBLIC: tls_server})
    fetcher = ImageFetcher(
        FetchLimits(total_seconds=1),
        tls=ssl.create_default_context(cafile=certificate[1]),
        resolve=internet.resolve,
        dial=internet.dial,
    )
    with pytest.raises(ImageFetchError, match=r"longer than 1 seconds|in time"):
        fetcher.fetch("https://shop.example/slow")


# Where the reset comes before the handshake begins, Python leaves the socket for its collector to close.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize(
    ("handshake", "seconds", "reason"),
    [
        (silence(), 0.3, "did not answer in time"),
        (drip(b"\x16\x03\x03\x40\x00\x02", b"\0"), 0.3, "did not answer in time"),
        (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 5, "no secure connection"),
        (raw(b""), 5, "no secure connection|was lost"),
        (reset, 5, "was lost"),
    ],
)
def test_a_handshake_that_comes_to_nothing_is_refused(handshake: Behaviour, seconds: float, reason: str) -> None:
    with HostileServer(on_connect=handshake) as server, pytest.raises(ImageFetchError, match=reason):
        on_loopback(FetchLimits(connect_seconds=seconds)).fetch(f"https://127.0.0.1:{server.port}/")


# Many at once


def test_threads_share_a_fetcher(server: HostileServer) -> None:
    server.behaviours |= {f"/{number}": reply(b"%d" % number * 5000) for number in range(40)}
    server.behaviours |= {f"/old{number}": redirect(f"/{number}") for number in range(40)}
    fetcher = on_loopback()
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda number: fetcher.fetch(server.url(f"/old{number}")), range(40)))
    assert bodies == [b"%d" % number * 5000 for number in range(40)]


def test_neither_success_nor_failure_leaves_a_thread_or_a_descriptor_behind(certificate: tuple[Path, Path]) -> None:
    fetcher = on_loopback(FetchLimits(max_bytes=10_000, read_seconds=0.1))
    behaviours = {
        "/photo.jpg": reply(b"fine"),
        "/missing": reply(b"gone", status="404 Not Found"),
        "/loop": redirect("/loop"),
        "/endless": flood(OK + b"\r\n", bytes(65536)),
        "/silent": silence(OK),
        "/garbage": raw(b"garbage"),
        "/closed": raw(b""),
        "/short": raw(OK + b"Content-Length: 10\r\n\r\nabc"),
        "/inner": redirect("http://0.0.0.0/"),
    }
    descriptors, threads = _descriptors(), threading.active_count()
    with HostileServer(behaviours) as server, HostileServer(on_connect=raw(b"no TLS")) as no_tls:
        for path in behaviours:
            for _ in range(3):
                _outcome(fetcher, server.url(path))
        _outcome(fetcher, f"https://127.0.0.1:{no_tls.port}/")
    assert _descriptors() == descriptors
    assert threading.active_count() == threads


def _descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir() if path.exists())


def _outcome(fetcher: ImageFetcher, url: str) -> bytes | None:
    try:
        return fetcher.fetch(url)
    except ImageFetchError:
        return None
