"""Only permitted addresses are connected to, and what is judged is what is connected to."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from embeddings.errors import ImageFetchError
from embeddings.images.addresses import may_reach
from embeddings.images.fetch import ImageFetcher
from tests.embeddings.hostile_server import (
    HostileServer,
    reply,
)
from tests.embeddings.images.fetched import LIMITS, OTHER_PUBLIC, PHOTO, PUBLIC, Internet, on_loopback


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
