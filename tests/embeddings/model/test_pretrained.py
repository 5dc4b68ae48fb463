"""Downloaded weights, from a real server on loopback that serves them well or badly."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import efficientnet.weights
import pytest

from embeddings.errors import ModelError
from embeddings.model.pretrained import PRETRAINED, fetch_pretrained
from tests.embeddings.hostile_server import Behaviour, HostileServer, chunked, drip, raw, reply, silence

CONTENT = b"weights " * 50_000  # 400 kB
IMAGENET = PRETRAINED["imagenet"]
PATH = f"/mirror/{IMAGENET.file_name}"


@pytest.fixture(autouse=True)
def released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat CONTENT as the released file, and connect to loopback without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for word, file in PRETRAINED.items():
        digest = hashlib.new(file.algorithm, CONTENT).hexdigest()
        monkeypatch.setitem(PRETRAINED, word, replace(file, digest=digest))


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer({PATH: reply(CONTENT)}) as server:
        yield server


def redirected(location: str) -> Behaviour:
    """Redirect the client, and announce that this connection ends: requests would use it again."""
    return reply(b"", f"Location: {location}", "Connection: close", status="302 Found")


def fetch(server: HostileServer, cache_dir: Path, **limits: Any) -> Path:
    return fetch_pretrained("imagenet", cache_dir, base_url=server.url("/mirror"), **limits)


def refusal(server: HostileServer, cache_dir: Path, **limits: Any) -> str:
    """Return why the download fails, after checking that it left nothing behind."""
    with pytest.raises(ModelError) as caught:
        fetch(server, cache_dir, **limits)
    assert list(cache_dir.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "hashes", "name"),
    [
        ("imagenet", "IMAGENET_WEIGHTS", "efficientnet-b0_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5"),
        ("noisy-student", "NS_WEIGHTS", "efficientnet-b0_noisy-student_notop.h5"),
    ],
)
def test_the_table_is_what_the_efficientnet_package_publishes(
    monkeypatch: pytest.MonkeyPatch, word: str, hashes: str, name: str
) -> None:
    monkeypatch.undo()
    _top, digest = getattr(efficientnet.weights, f"{hashes}_HASHES")["efficientnet-b0"]
    assert PRETRAINED[word].digest == digest
    assert PRETRAINED[word].url == getattr(efficientnet.weights, f"{hashes}_PATH") + name
    assert len(digest) == 2 * hashlib.new(PRETRAINED[word].algorithm).digest_size


@pytest.mark.parametrize("word", PRETRAINED)
def test_weights_are_downloaded_once(tmp_path: Path, word: str) -> None:
    name = PRETRAINED[word].file_name
    with HostileServer({f"/{name}": reply(CONTENT)}) as server:
        path = fetch_pretrained(word, tmp_path / "downloads", base_url=server.url("/"))
        assert path == fetch_pretrained(word, tmp_path / "downloads", base_url=server.url("/"))
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT),
        raw(chunked([CONTENT[:1000], CONTENT[1000:]])),
        redirected(f"/elsewhere{PATH}"),
    ],
    ids=["without a length", "in chunks", "redirected"],
)
def test_weights_are_downloaded_however_they_are_sent(
    server: HostileServer, tmp_path: Path, behaviour: Behaviour
) -> None:
    server.behaviours = {PATH: behaviour, f"/elsewhere{PATH}": reply(CONTENT)}
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_the_proxy_from_the_environment_is_used(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    server.behaviours = {f"http://mirror.example{PATH}": reply(CONTENT)}
    path = fetch_pretrained("imagenet", tmp_path, base_url="http://mirror.example/mirror")
    assert path.read_bytes() == CONTENT


def test_a_file_put_there_by_hand_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / IMAGENET.file_name).write_bytes(CONTENT)
    assert fetch_pretrained("imagenet", tmp_path, base_url="http://127.0.0.1:9").read_bytes() == CONTENT


def test_several_may_download_at_once(server: HostileServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: fetch(server, tmp_path), range(8)))
    assert list(tmp_path.iterdir()) == list(paths)
    assert paths.pop().read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [b"", CONTENT[:-1], CONTENT.upper()])
def test_a_wrong_file_that_is_already_there_is_replaced(
    server: HostileServer, tmp_path: Path, wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / IMAGENET.file_name
    path.write_bytes(wrong)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert f"{path} does not match the digest of the released file: downloading it again" in caplog.text


def test_a_wrong_file_that_is_already_there_is_not_used_when_the_download_fails(
    server: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / IMAGENET.file_name).write_bytes(CONTENT[1:])
    server.behaviours = {}
    with pytest.raises(ModelError, match="its server answered with status 404, not 200"):
        fetch(server, tmp_path)


@pytest.mark.parametrize("elsewhere", ["ftp://127.0.0.1/weights", "file:///etc/passwd", "data:,weights"])
def test_redirects_are_followed_only_to_http_and_https(server: HostileServer, tmp_path: Path, elsewhere: str) -> None:
    server.behaviours = {PATH: redirected(elsewhere)}
    assert "imagenet weights were not downloaded" in refusal(server, tmp_path)


def test_a_failed_download_says_what_to_do(server: HostileServer, tmp_path: Path) -> None:
    server.behaviours = {}
    assert refusal(server, tmp_path) == (
        f"the imagenet weights were not downloaded from {server.url(PATH)}: its server answered with status 404,"
        f" not 200. Try again; or download {IMAGENET.url} by other means and put it at {tmp_path / IMAGENET.file_name};"
        " or set ANN_WEIGHTS_URL to a mirror, or ANN_WEIGHTS to bundled or to the path of a Keras weights file"
    )


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (reply(CONTENT.upper()), f"it is another file: its sha256 is {hashlib.sha256(CONTENT.upper()).hexdigest()}"),
        (raw(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT[:-1]), "it is another file: its sha256 is"),
        (reply(CONTENT[:-1], "Content-Length: 400000"), "IncompleteRead(399999 bytes read, 1 more expected)"),
        (raw(chunked([CONTENT])[:-1000]), "IncompleteRead"),
        (raw(b"no HTTP\r\n\r\n"), "no HTTP"),
        (raw(b""), "Remote end closed connection without response"),
        (reply(b"", status="503 Busy"), "its server answered with status 503"),
        (redirected(PATH), "Exceeded 30 redirects"),
    ],
    ids=["another file", "cut", "cut below its length", "cut in a chunk", "no HTTP", "nothing", "busy", "a circle"],
)
def test_server_errors_are_reported_and_nothing_is_kept(
    server: HostileServer, tmp_path: Path, behaviour: Behaviour, reason: str
) -> None:
    server.behaviours = {PATH: behaviour}
    assert reason in refusal(server, tmp_path)


@pytest.mark.parametrize(
    "behaviour",
    [reply(CONTENT), raw(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT)],
    ids=["which says so", "which does not"],
)
def test_a_file_larger_than_the_limit_is_refused(server: HostileServer, tmp_path: Path, behaviour: Behaviour) -> None:
    server.behaviours = {PATH: behaviour}
    assert "it is larger than 399,999 bytes" in refusal(server, tmp_path, max_bytes=len(CONTENT) - 1)


def test_a_file_of_exactly_the_limit_is_accepted(server: HostileServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, max_bytes=len(CONTENT)).exists()


@pytest.mark.parametrize("prefix", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\nweights"])
def test_a_silent_server_is_left(server: HostileServer, tmp_path: Path, prefix: bytes) -> None:
    server.behaviours = {PATH: silence(prefix)}
    assert "timed out" in refusal(server, tmp_path, silence_seconds=0.2)


def test_a_server_that_drips_is_left(server: HostileServer, tmp_path: Path) -> None:
    server.behaviours = {PATH: drip(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n", b"w")}
    assert "it took longer than 0.3 seconds" in refusal(server, tmp_path, timeout_seconds=0.3)


def test_a_server_that_is_not_there_is_an_error(server: HostileServer, tmp_path: Path) -> None:
    with HostileServer() as gone:
        pass
    assert "Connection refused" in refusal(gone, tmp_path)


@pytest.mark.parametrize("base_url", ["http://[::1", "http://127.0.0.1:port"])
def test_a_malformed_address_is_an_error(tmp_path: Path, base_url: str) -> None:
    with pytest.raises(ModelError, match="the imagenet weights were not downloaded from"):
        fetch_pretrained("imagenet", tmp_path, base_url=base_url)


def test_a_disk_without_room_is_told(server: HostileServer, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        message = refusal(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert message.startswith(f"the imagenet weights cannot be stored at {tmp_path / IMAGENET.file_name}: ")
    assert "File too large" in message
    assert message.endswith("Free space there, or let this user write there")


def test_a_directory_that_cannot_be_made_is_told(server: HostileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"cannot be stored at .*Not a directory"):
        fetch(server, tmp_path / "file" / "downloads")
    assert server.requests == []
