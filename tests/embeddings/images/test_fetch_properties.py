"""However an address is spelt, and wherever a redirect leads: no connection goes to an inner network."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ImageFetchError
from embeddings.images.addresses import may_reach
from embeddings.images.fetch import ImageFetcher
from embeddings.images.metered_http import FetchLimits
from tests.properties import examples

INNER = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32"),
    )
]
"""What RFC 6890 and its registries keep from the Internet, written down apart from the code that is tested."""

PUBLIC = "93.184.215.14"
TLS = ssl.create_default_context()


def is_inner(address: str) -> bool:
    """Tell whether an address, or the IPv4 address that it wraps, is of an inner network."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        number = int(ip)
        if number >> 32 in (0xFFFF, 0x64FF9B << 64):  # mapped (RFC 4291), NAT64 (RFC 6052)
            return is_inner(str(ipaddress.IPv4Address(number & 0xFFFFFFFF)))
        if number >> 112 == 0x2002:  # 6to4 (RFC 3056)
            return is_inner(str(ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF)))
    return any(ip.version == network.version and ip in network for network in INNER)


@dataclass
class Internet:
    """Resolves numbers as the system does, and names as it is told; answers every connection with a redirect."""

    names: dict[str, list[str]]
    locations: list[str]
    dialled: list[str] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        try:
            found = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, type=socket.SOCK_STREAM)
            return [(0, 0, 0, "", (str(address[0]), port)) for *_, address in found]
        except (OSError, UnicodeError):
            return [(0, 0, 0, "", (address, port)) for address in self.names.get(host, [])]

    def hang_up(self) -> None:
        for each in self.sockets:
            each.close()

    def dial(self, address: tuple[str, int], _: float) -> socket.socket:
        self.dialled.append(address[0])
        if not self.locations:
            raise ConnectionRefusedError
        ours, theirs = socket.socketpair()
        location = self.locations.pop(0).encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"")
        theirs.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")
        theirs.shutdown(socket.SHUT_WR)
        self.sockets += [ours, theirs]  # open until all is over, so that the request can be sent
        return ours


inner_v4 = st.one_of([st.ip_addresses(v=4, network=str(network)) for network in INNER if network.version == 4])
v4 = inner_v4 | st.just(ipaddress.IPv4Address(PUBLIC))


@st.composite
def spelt(draw: st.DrawFn) -> str:
    """Spell an address in one of the ways that some program understands."""
    ip = draw(v4)
    number = int(ip)
    first, rest = number >> 24, number & 0xFFFFFF
    return draw(
        st.sampled_from(
            [
                str(ip),
                str(number),
                hex(number),
                f"0{number:o}",
                f"{first}.{rest}",
                f"0x{first:x}.{rest}",
                f"0{first:o}.{rest >> 16}.{rest & 0xFFFF}",
                ".".join(f"{int(part):03o}" for part in str(ip).split(".")),
                f"{ip}.",
                "".join(chr(ord(char) + 0xFEE0) if char.isdigit() else char for char in str(ip)),
                str(ip).replace(".", "。"),
                str(ip).replace(".", "%2e"),
                f"[::ffff:{ip}]",
                f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
                f"[::{ip}]",
                f"[64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}]",
                f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
                "[::1]",
                "[::]",
                "[fe80::1%25lo]",
                "[fe80::1%lo]",
                "[fd00::7]",
            ]
        )
    )


names = st.sampled_from(["localhost", "outside.example", "inside.example", "mixed.example", "OUTSIDE.example."])


@st.composite
def urls(draw: st.DrawFn) -> str:
    host = draw(names | spelt())
    scheme = draw(
        st.sampled_from(
            [*["http://"] * 6, "https://", "//", "http:", "HTTP://", "http:\\\\", "ftp://", "\thttp://", ""]
        )
    )
    before = draw(
        st.sampled_from(["", "", "", "user@", "outside.example@", "outside.example\\@", "outside.example#@", "@"])
    )
    after = draw(
        st.sampled_from(
            ["", "/", "/a.jpg", ":80/", ":0", ":99999", "?x", "#", "\\", "/..;/@outside.example", "%00", " "]
        )
    )
    return scheme + before + host + after


def fetch(url: str, names: dict[str, list[str]], locations: list[str]) -> list[str]:
    internet = Internet(names, locations)
    limits = FetchLimits(connect_seconds=5, read_seconds=5, total_seconds=10, max_redirects=4)
    fetcher = ImageFetcher(limits, tls=TLS, resolve=internet.resolve, dial=internet.dial)
    with contextlib.ExitStack() as stack, pytest.raises(ImageFetchError):  # nothing here answers with an image
        stack.callback(internet.hang_up)
        fetcher.fetch(url)
    return internet.dialled


answers = st.fixed_dictionaries(
    {
        "outside.example": st.just([PUBLIC]),
        "inside.example": st.lists(
            inner_v4.map(str) | st.ip_addresses(v=6, network="fc00::/7").map(str), min_size=1, max_size=2
        ),
        "mixed.example": inner_v4.map(lambda ip: [PUBLIC, str(ip)]),
        "localhost": st.just(["127.0.0.1", "::1"]),
    }
)


@examples(300)
@given(url=urls() | st.text(max_size=30), names=answers, locations=st.lists(urls() | st.text(max_size=20), max_size=3))
def test_no_spelling_and_no_redirect_reaches_an_inner_network(
    url: str, names: dict[str, list[str]], locations: list[str]
) -> None:
    assert not [address for address in fetch(url, names, locations) if is_inner(address)]


def test_a_public_address_is_reached_and_redirects_are_followed() -> None:
    """Else the test above would hold of a fetcher that fetches nothing."""
    names = {"outside.example": [PUBLIC]}
    assert fetch("http://outside.example/a", names, ["/b", f"http://{PUBLIC}/c", "http://127.0.0.1/"]) == [PUBLIC] * 3


WRAPPERS = (
    "{ip}",
    "::ffff:{ip}",
    "64:ff9b::{ip}",
    "2002:{high:x}:{low:x}::",
    "2002:{high:x}:{low:x}:1234:5678:9abc:def0:1234",
)


@examples(300)
@given(inner_v4 | st.ip_addresses(v=4), st.sampled_from(WRAPPERS))
def test_an_inner_ipv4_address_is_never_reached_however_it_is_wrapped(ip: ipaddress.IPv4Address, wrapper: str) -> None:
    address = wrapper.format(ip=ip, high=int(ip) >> 16, low=int(ip) & 0xFFFF)
    if is_inner(address):
        assert not may_reach(address, allow_private=False)


@examples(300)
@given(st.one_of([st.ip_addresses(network=str(network)) for network in INNER]) | st.ip_addresses())
def test_what_the_registries_keep_from_the_internet_is_never_reached(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_inner(str(ip)):
        assert not may_reach(str(ip), allow_private=False)
