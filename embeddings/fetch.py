"""Have an image from its address, and reach nothing else on the way.

The address comes from whoever calls the service, so it is judged before anything is sent to it, and again at each
redirect: http or https, no credentials, a host that is allowed, and a name of which every address is public. The one
thing to know: the name is resolved once, and the connection goes to the very addresses that were judged, so that a name
server cannot answer the check with one address and the connection with another. TLS still proves the host's name.

Redirects are followed here, each over a connection of its own that is closed before the next; nothing of a redirect's
body is read. Proxies, cookies, `.netrc` and the environment play no part.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import DecodeError, LocationParseError, ProtocolError
from urllib3.util import Url, parse_url

from embeddings.errors import ImageFetchError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Resolve = Callable[[str, int], Iterable[tuple[Any, Any, Any, str, Sequence[Any]]]]
"""Called with a host name and a port; answers as `socket.getaddrinfo` does."""

Dial = Callable[[tuple[str, int], float], socket.socket]
"""Called with a numeric address and port, and a time-out in seconds; answers as `socket.create_connection` does."""

_MAX_URL_LENGTH = 8192
_CHUNK_BYTES = 2**16
_FRAMING_BYTES = 2**20  # headers and chunk sizes come on top of the image
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# The first that fits counts: a certificate's error is both an OSError and a ValueError.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "its server did not answer in time"),
    (urllib3.exceptions.TimeoutError, "its server did not answer in time"),
    (ssl.SSLCertVerificationError, "the certificate of its server is not valid for this host"),
    (ssl.SSLError, "no secure connection could be made to its server"),
    (ValueError, "the address is malformed"),
    (DecodeError, "it arrived compressed, and damaged"),
    (ProtocolError, "the answer of its server broke off"),
    (OSError, "the connection to its server could not be made, or was lost"),
)

_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")  # all that is given out for use on the Internet, RFC 4291
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_INNER_IPV4 = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments, RFC 6890; Python knows only parts of them
    ipaddress.IPv4Network("168.63.129.16"),  # the platform address inside every Azure network
)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one image may take, its redirects included.

    Attributes:
        max_bytes: the size of the image file, in bytes, after decompression.
        connect_seconds: the wait for a connection to one address, and again for its TLS handshake.
        read_seconds: the wait for the next bytes.
        total_seconds: the time for everything. The system's name look-ups count, but cannot be interrupted.
        max_redirects: the number of redirects followed.
    """

    max_bytes: int = 20 * 2**20
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    total_seconds: float = 20.0
    max_redirects: int = 5


DEFAULT_LIMITS = FetchLimits()


class ImageFetcher:
    """Fetches images by URL. Threads may share one.

    Args:
        limits: what one image may take.
        allowed_hosts: the only hosts to fetch from; empty for any. A name allows itself alone, a name with a leading
            dot (`.example.org`) that domain and all below it. Their addresses are judged like any other's.
        allow_private: whether addresses of inner networks may be reached. Multicast, broadcast, unspecified and
            link-local addresses (where clouds keep credentials) never are.
        user_agent: how to introduce ourselves.
        tls: certificates to trust instead of the system's.
        resolve: looks a name up.
        dial: opens a connection.

    Raises:
        ValueError: an allowed host is no host name.
    """

    def __init__(
        self,
        limits: FetchLimits = DEFAULT_LIMITS,
        *,
        allowed_hosts: frozenset[str] = frozenset(),
        allow_private: bool = False,
        user_agent: str = "robotoff-ann",
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = socket.getaddrinfo,
        dial: Dial = socket.create_connection,
    ) -> None:
        self._limits = limits
        self._allowed_hosts = frozenset(_normal_host(name) for name in allowed_hosts)
        self._allow_private = allow_private
        self._headers = {"User-Agent": user_agent, "Connection": "close"}
        self._tls = tls or ssl.create_default_context()
        self._resolve = resolve
        self._dial = dial

    def fetch(self, url: str) -> bytes:
        """Return the file at an http or https address.

        Its content type is not looked at. A body that arrives compressed is decompressed.

        Raises:
            ImageFetchError: whatever goes wrong. The message names the address without its query, which may hold
                secrets, and never an address that a name was resolved to.
        """
        budget = _Budget(self._limits)
        hop = url
        try:
            while not isinstance(answer := self._get(hop, budget), bytes):
                budget.take_redirect()
                hop = urllib.parse.urljoin(hop, answer)
        except Exception as error:
            redirected = f" (redirected to {_shown(hop)})" if hop != url else ""
            raise ImageFetchError(f"Cannot fetch {_shown(url)}{redirected}: {_reason(error)}.") from error
        else:
            return answer

    def _get(self, url: str, budget: _Budget) -> bytes | str:
        """Return the body of a 200, or the address that a redirect points to."""
        target = self._judge(url)
        scheme, host = str(target.scheme), str(target.host).strip("[]")
        port = _DEFAULT_PORTS[scheme] if target.port is None else target.port
        dial = functools.partial(self._connect, self._look_up(host, port), port, budget)
        connection = (
            _TLSConnection(host, port, dial=dial, budget=budget, ssl_context=self._tls)
            if scheme == "https"
            else _Connection(host, port, dial=dial, budget=budget)
        )
        with contextlib.closing(connection):
            connection.request("GET", target.request_uri, headers=self._headers, preload_content=False)
            with contextlib.closing(connection.getresponse()) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location is not None:
                    # http.client reads headers as Latin-1, and servers write UTF-8 into this one.
                    return location.encode("latin-1").decode()
                if response.status != 200:
                    raise _RefusedError(f"its server answered with status {response.status}, not 200")
                return _read_body(response, self._limits.max_bytes)

    def _judge(self, url: str) -> Url:
        """Refuse what the address alone gives away."""
        if len(url) > _MAX_URL_LENGTH:
            raise _RefusedError(f"the address has more than {_MAX_URL_LENGTH:,} characters")
        if re.search(r"[\x00-\x1f\x7f]", url):
            raise _RefusedError("the address contains control characters")
        target = parse_url(url.strip(" "))
        if target.scheme not in _DEFAULT_PORTS or not target.host:
            raise _RefusedError("give a whole address that starts with http:// or https://")
        if target.auth is not None:
            raise _RefusedError("give an address without user name and password")
        if self._allowed_hosts and not self._is_allowed(target.host.rstrip(".")):
            raise _RefusedError("its host is not among those that images may come from")
        return target

    def _is_allowed(self, host: str) -> bool:
        return any(host == name or (name.startswith(".") and f".{host}".endswith(name)) for name in self._allowed_hosts)

    def _look_up(self, host: str, port: int) -> tuple[str, ...]:
        """Resolve a host, and refuse it unless every one of its addresses may be reached."""
        try:
            answers = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise _RefusedError("its host name cannot be resolved") from error
        addresses = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
        if not all(may_reach(address, allow_private=self._allow_private) for address in addresses):
            raise _RefusedError("its host is not on the public Internet, and images are fetched from nowhere else")
        return addresses

    def _connect(self, addresses: Iterable[str], port: int, budget: _Budget) -> socket.socket:
        """Connect to the first address that answers."""
        failure = OSError("no address")
        for address in addresses:
            try:
                sock = self._dial((address, port), budget.seconds(self._limits.connect_seconds))
            except OSError as error:
                failure = error
                continue
            try:
                sock.settimeout(budget.seconds(self._limits.connect_seconds))
            except _RefusedError:
                sock.close()
                raise
            return sock
        raise failure


def may_reach(address: str, *, allow_private: bool) -> bool:
    """Tell whether a connection may go to a numeric IP address.

    An IPv6 address that wraps an IPv4 address (mapped, 6to4, NAT64) is judged by what it wraps. Public is what the
    registries of RFC 6890 call globally reachable.
    """
    ip = _unwrap(ipaddress.ip_address(address))
    if ip.is_multicast or ip.is_unspecified or ip.is_link_local or str(ip) == "255.255.255.255":
        return False
    if allow_private:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.is_global and ip in _PUBLIC_IPV6
    return ip.is_global and not any(ip in network for network in _INNER_IPV4)


def _unwrap(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


class _RefusedError(Exception):
    """A reason to give up, fit to end the sentence that `fetch` begins."""


class _Budget:
    """What is left of the time, bytes and redirects of one fetch."""

    def __init__(self, limits: FetchLimits) -> None:
        self.limits = limits
        self._deadline = time.monotonic() + limits.total_seconds
        self._bytes = limits.max_bytes + _FRAMING_BYTES
        self._redirects = limits.max_redirects

    def seconds(self, at_most: float) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _RefusedError(f"it took longer than {self.limits.total_seconds:g} seconds")
        return min(left, at_most)

    def take_bytes(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise _too_large(self.limits.max_bytes)

    def take_redirect(self) -> None:
        self._redirects -= 1
        if self._redirects < 0:
            raise _RefusedError(f"it redirects more than {self.limits.max_redirects} times")


class _Connection(HTTPConnection):
    """An HTTP connection to addresses that were judged; the host is only what it asks for."""

    def __init__(self, *args: Any, dial: Callable[[], socket.socket], budget: _Budget, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dial = dial
        self.response_class = _metered_response(budget)

    def _new_conn(self) -> socket.socket:
        return self._dial()


class _TLSConnection(_Connection, HTTPSConnection):
    """The same under TLS: the certificate must be valid for the host, whatever the address."""


def _metered_response(budget: _Budget) -> type[http.client.HTTPResponse]:
    """Make the class through which http.client reads a connection, headers and body alike."""

    class MeteredResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = io.BufferedReader(_MeteredReader(sock, self.fp.detach(), budget))

    return MeteredResponse


class _MeteredReader(io.RawIOBase):
    """Reads a socket on a budget: a server that drips keeps no single wait long, but the sum of them ends."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, budget: _Budget) -> None:
        self._sock = sock
        self._raw = raw
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        self._sock.settimeout(self._budget.seconds(self._budget.limits.read_seconds))
        count = self._raw.readinto(buffer)
        self._budget.take_bytes(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _read_body(response: urllib3.HTTPResponse, max_bytes: int) -> bytes:
    if (response.length_remaining or 0) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    for chunk in response.stream(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    if not body:
        raise _RefusedError("it is empty")
    return bytes(body)


def _too_large(max_bytes: int) -> _RefusedError:
    return _RefusedError(f"it is larger than {max_bytes:,} bytes")


def _normal_host(name: str) -> str:
    """Write an allowed host as `parse_url` writes the host of a URL."""
    dot = "." if name.startswith(".") else ""
    with contextlib.suppress(LocationParseError):
        parsed = parse_url(f"http://{name.removeprefix('.')}")
        if parsed.host and parsed == Url("http", host=parsed.host) and "*" not in parsed.host:
            return dot + parsed.host.rstrip(".")
    raise ValueError(f"{name!r} is no host name: write it like images.example.org or .example.org, without a port")


def _shown(url: str) -> str:
    """Shorten an address for a message: no user name, no password, no query."""
    shown = re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
    return "".join(char if char.isprintable() else "?" for char in shown[:200])


def _reason(error: Exception) -> str:
    """Say in our words what went wrong; an error's own might tell of an inner network."""
    if isinstance(error, _RefusedError):
        return str(error)
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "its server does not speak HTTP")
