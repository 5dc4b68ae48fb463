"""Which files of a folder are served, and how."""

from __future__ import annotations

import gzip
from pathlib import Path

import falcon
import falcon.testing
import pytest

from api.answers.folder import StaticFolder
from api.answers.representation import accepts_gzip

SCRIPT = b"export const answer = 42;\n" * 200
POLICY = "default-src 'self'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "inner").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>ä</title>")
    (folder / "app.js").write_bytes(SCRIPT)
    (folder / "large.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "README.md").write_text("for those who keep it")
    (folder / ".hidden.html").write_text("hidden")
    (folder / "inner" / "deep.html").write_text("deep")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def client(folder: Path) -> falcon.testing.TestClient:
    files = StaticFolder(folder, POLICY)
    app = falcon.App()
    app.req_options.strip_url_path_trailing_slash = True
    app.add_route("/", files.page("index.html"))
    app.add_route("/about", files.page("index.html"))
    app.add_route("/page/{file}", files)
    return falcon.testing.TestClient(app)


def test_file_is_served_with_its_content_type_and_policy(client: falcon.testing.TestClient) -> None:
    answer = client.simulate_get("/page/app.js")
    assert answer.content == SCRIPT
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"


def test_page_is_served_at_its_own_path(client: falcon.testing.TestClient) -> None:
    page = client.simulate_get("/")
    assert page.text == "<!doctype html><title>ä</title>" == client.simulate_get("/page/index.html").text
    assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_page_with_a_trailing_slash_redirects_so_that_its_links_work(client: falcon.testing.TestClient) -> None:
    assert client.simulate_get("/about").status_code == client.simulate_get("/").status_code == 200
    for method in ("GET", "HEAD"):
        answer = client.simulate_request(method, "/about/", root_path="/below")
        assert (answer.status_code, answer.headers["location"]) == (308, "../about")


@pytest.mark.parametrize("name", ["app.js", "large.js"])
def test_gzip_is_sent_to_clients_that_accept_it(client: falcon.testing.TestClient, name: str) -> None:
    plain = client.simulate_get(f"/page/{name}")
    packed = client.simulate_get(f"/page/{name}", headers={"Accept-Encoding": "br, gzip;q=0.8"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content == SCRIPT
    assert plain.headers["etag"] != packed.headers["etag"]
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_client_that_has_the_file_gets_304(client: falcon.testing.TestClient, encoding: str) -> None:
    known = client.simulate_get("/page/app.js", headers={"Accept-Encoding": encoding}).headers["etag"]
    for asked in (known, f"W/{known}", f'"other", {known}', "*"):
        answer = client.simulate_get("/page/app.js", headers={"Accept-Encoding": encoding, "If-None-Match": asked})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", known)
    assert client.simulate_get("/page/app.js", headers={"If-None-Match": '"other"'}).status_code == 200


def test_head_returns_the_size_without_the_file(client: falcon.testing.TestClient) -> None:
    for path, size in (("/page/app.js", len(SCRIPT)), ("/", len("<!doctype html><title>ä</title>".encode()))):
        answer = client.simulate_head(path)
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", str(size))


@pytest.mark.parametrize(
    "path",
    [
        "/page/none.js",
        "/page/README.md",
        "/page/large.js.gz",
        "/page/.hidden.html",
        "/page/inner",
        "/page/deep.html",
        "/page/inner/deep.html",
        "/page/..",
        "/page/../secret.txt",
        "/page/..%2Fsecret.txt",
        "/page/%2e%2e%2fsecret.txt",
        "/page/..\\secret.txt",
        "/page/app.js%00.html",
        "/page/",
    ],
)
def test_other_paths_are_404(client: falcon.testing.TestClient, path: str) -> None:
    assert client.simulate_get(path).status_code == 404


def test_file_added_later_is_not_served(client: falcon.testing.TestClient, folder: Path) -> None:
    (folder / "later.js").write_text("later")
    (folder / "app.js").write_text("changed")
    assert client.simulate_get("/page/later.js").status_code == 404
    assert client.simulate_get("/page/app.js").content == SCRIPT


def test_missing_page_stops_the_start(folder: Path) -> None:
    with pytest.raises(KeyError, match=r"none\.html"):
        StaticFolder(folder, POLICY).page("none.html")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("gzip;q=nonsense", False),
        ("gzipped", False),
    ],
)
def test_accept_encoding_is_parsed_as_in_the_rfc(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
