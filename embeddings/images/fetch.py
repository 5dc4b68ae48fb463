"""Download an image from an untrusted URL, connecting only to permitted addresses.

Any client of the service may send a URL, so it is checked before anything is sent to its host, and so is the target of
each redirect. It must be http or https, without credentials, on an allowed host whose every IP address is public. The
name is resolved once, and the connection goes to the IP addresses that were checked, so that a name server cannot give
one address for the check and another for the connection. TLS still verifies the host's name.

This module follows redirects itself, each over a connection of its own that is closed before the next; the body of a
redirect is not read. Proxies, cookies, `.netrc` and environment variables are ignored.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import functools
import math
import re
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import urllib3
from urllib3.exceptions import DecodeError, LocationParseError, ProtocolError
from urllib3.util import Url, parse_url

from embeddings.errors import ExhaustedError, HostBusyError, HostUnreachableError, ImageFetchError
from embeddings.images.addresses import may_reach
from embeddings.images.metered_http import (
    Budget,
    BusyError,
    Connection,
    FetchLimits,
    RefusedError,
    TLSConnection,
    UnreachableError,
    too_large,
)

Resolve = Callable[[str, int], Iterable[tuple[Any, Any, Any, str, Sequence[Any]]]]
"""Called with a host name and a port; returns what `socket.getaddrinfo` would."""

Dial = Callable[[tuple[str, int], float], socket.socket]
"""Called with a numeric address and port, and a time-out in seconds; returns what `socket.create_connection` would."""

_MAX_URL_LENGTH = 8192
_CHUNK_BYTES = 2**16
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({429, 502, 503, 504})
_LONGEST_WAIT = 86_400  # seconds

# The first match counts, because a certificate's error is both an OSError and a ValueError.
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


DEFAULT_LIMITS = FetchLimits()


class ImageFetcher:
    """Fetches images by URL. Threads may share one.

    Args:
        limits: the limits for each image.
        allowed_hosts: the only hosts to fetch from; empty for any. A name allows that host alone; a name with a
            leading dot (`.example.org`) allows the domain and its subdomains. Their IP addresses are still checked.
        allow_private: whether addresses of private networks may be reached. Multicast, broadcast, unspecified and
            link-local addresses (where clouds keep credentials) never are.
        user_agent: the User-Agent header to send.
        tls: the certificates to trust instead of the system's.
        resolve: looks up a host name.
        dial: opens a connection.

    Raises:
        ValueError: an allowed host is not a host name.
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

        Its content type is ignored. A compressed body is decompressed.

        Raises:
            ExhaustedError: this process has no file descriptor or memory left.
            HostBusyError: its host asks to be tried again later, by status 429, 502, 503 or 504.
            HostUnreachableError: its host does not answer, or not in time.
            ImageFetchError: anything else fails. The message names the URL without its query, which may contain
                secrets, and never an IP address that a name was resolved to.
        """
        budget = Budget(self._limits)
        hop = url
        try:
            while not isinstance(answer := self._get(hop, budget), bytes):
                budget.take_redirect()
                hop = urllib.parse.urljoin(hop, answer)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _EXHAUSTED:  # not the fault of the address
                raise ExhaustedError(f"no image can be fetched now: {error.strerror}") from error
            redirected = f" (redirected to {_shown(hop)})" if hop != url else ""
            message = f"Cannot fetch {_shown(url)}{redirected}: {_reason(error)}."
            if isinstance(error, BusyError):
                raise HostBusyError(message, error.retry_after) from error
            raise (HostUnreachableError if _is_unreachable(error) else ImageFetchError)(message) from error
        else:
            return answer

    def _get(self, url: str, budget: Budget) -> bytes | str:
        """Return the body of a response of status 200, or the URL that a redirect points to."""
        target = self._judge(url)
        scheme, host = str(target.scheme), str(target.host).strip("[]")
        port = _DEFAULT_PORTS[scheme] if target.port is None else target.port
        dial = functools.partial(self._connect, self._look_up(host, port), port, budget)
        connection = (
            TLSConnection(host, port, dial=dial, budget=budget, ssl_context=self._tls)
            if scheme == "https"
            else Connection(host, port, dial=dial, budget=budget)
        )
        with contextlib.closing(connection):
            connection.request("GET", target.request_uri, headers=self._headers, preload_content=False)
            with contextlib.closing(connection.getresponse()) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location is not None:
                    # http.client decodes headers as Latin-1, but servers write this one in UTF-8.
                    return location.encode("latin-1").decode()
                if response.status in _LATER:
                    text = f"its server answered with status {response.status}: try again later"
                    raise BusyError(text, _retry_after(response.headers.get("Retry-After", "")))
                if response.status != 200:
                    raise RefusedError(f"its server answered with status {response.status}, not 200")
                return _read_body(response, self._limits.max_bytes)

    def _judge(self, url: str) -> Url:
        """Refuse a URL that is not permitted, before looking up its host."""
        if len(url) > _MAX_URL_LENGTH:
            raise RefusedError(f"the address has more than {_MAX_URL_LENGTH:,} characters")
        if re.search(r"[\x00-\x1f\x7f]", url):
            raise RefusedError("the address contains control characters")
        target = parse_url(url.strip(" "))
        if target.scheme not in _DEFAULT_PORTS or not target.host:
            raise RefusedError("give a whole address that starts with http:// or https://")
        if target.auth is not None:
            raise RefusedError("give an address without user name and password")
        if self._allowed_hosts and not self._is_allowed(target.host.rstrip(".")):
            raise RefusedError("its host is not among those that images may come from")
        return target

    def _is_allowed(self, host: str) -> bool:
        return any(host == name or (name.startswith(".") and f".{host}".endswith(name)) for name in self._allowed_hosts)

    def _look_up(self, host: str, port: int) -> tuple[str, ...]:
        """Resolve a host, and refuse it unless every one of its addresses may be reached."""
        try:
            answers = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise UnreachableError("its host name cannot be resolved") from error
        addresses = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
        if not all(may_reach(address, allow_private=self._allow_private) for address in addresses):
            raise RefusedError("its host is not on the public Internet, and images are fetched from nowhere else")
        return addresses

    def _connect(self, addresses: Iterable[str], port: int, budget: Budget) -> socket.socket:
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
            except RefusedError:
                sock.close()
                raise
            return sock
        raise failure


def _read_body(response: urllib3.HTTPResponse, max_bytes: int) -> bytes:
    if (response.length_remaining or 0) > max_bytes:
        raise too_large(max_bytes)
    body = bytearray()
    for chunk in response.stream(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            raise too_large(max_bytes)
    if not body:
        raise RefusedError("it is empty")
    return bytes(body)


def _retry_after(value: str) -> int | None:
    """Return how many seconds a server asks to wait; it states them, or a date (RFC 9110, section 10.2.3)."""
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,10}", value):
        return min(int(value), _LONGEST_WAIT)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        left = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        return math.ceil(min(max(left, 0), _LONGEST_WAIT))
    return None


def _normal_host(name: str) -> str:
    """Return an allowed host as `parse_url` would write it."""
    dot = "." if name.startswith(".") else ""
    with contextlib.suppress(LocationParseError):
        parsed = parse_url(f"http://{name.removeprefix('.')}")
        if parsed.host and parsed == Url("http", host=parsed.host) and "*" not in parsed.host:
            return dot + parsed.host.rstrip(".")
    raise ValueError(f"{name!r} is not a host name: write it like images.example.org or .example.org, without a port")


def _shown(url: str) -> str:
    """Return a URL for a message: shortened, without user name, password and query."""
    shown = re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
    return "".join(char if char.isprintable() else "?" for char in shown[:200])


def _is_unreachable(error: Exception) -> bool:
    slow = (UnreachableError, TimeoutError, urllib3.exceptions.TimeoutError)
    return isinstance(error, slow) or (isinstance(error, OSError) and not isinstance(error, ssl.SSLError))


def _reason(error: Exception) -> str:
    """Return what went wrong, in words of this module: an error's own text might reveal an inner network."""
    if isinstance(error, RefusedError):
        return str(error)
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "its server does not speak HTTP")
