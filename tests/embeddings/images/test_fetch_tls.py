"""Certificates are checked for the name, and nothing is left behind."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings.errors import ImageFetchError
from embeddings.images.fetch import ImageFetcher
from embeddings.images.metered_http import FetchLimits
from tests.embeddings.hostile_server import (
    Behaviour,
    HostileServer,
    drip,
    flood,
    raw,
    redirect,
    reply,
    silence,
)
from tests.embeddings.images.fetched import OK, PHOTO, PUBLIC, Internet, on_loopback, reset


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
