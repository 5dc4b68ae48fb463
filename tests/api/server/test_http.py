"""What every route has in common: methods, CORS, errors, limits."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import falcon.inspect
import falcon.testing
import pytest
import sentry_sdk

from tests.photo_server import PhotoServer
from tests.waiting import wait_until

Client = falcon.testing.TestClient
ROUTES = {
    "/api/v1/ann": "GET",
    "/api/v1/ann/3": "GET",
    "/api/v1/ann/batch?logo_ids=3": "GET",
    "/api/v1/ann/from_embedding": "POST",
    "/api/v1/ann/add": "POST",
    "/api/v1/ann/count": "GET",
    "/api/v1/ann/stored": "GET",
}


@pytest.fixture
def client(shared_client: Client) -> Client:
    return shared_client


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
def test_other_methods_are_405(client: Client, path: str, method: str) -> None:
    for other in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"} - {method}:
        assert client.simulate_request(other, path).status_code == 405


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
def test_options_name_the_methods(client: Client, path: str, method: str) -> None:
    answer = client.simulate_options(path)
    assert answer.status_code == 200
    assert method in answer.headers["allow"]


@pytest.mark.parametrize("path", ROUTES)
def test_any_origin_may_call(client: Client, path: str) -> None:
    headers = {"Origin": "https://hunger.openfoodfacts.org"}
    for method in ("GET", "DELETE"):
        assert client.simulate_request(method, path, headers=headers).headers["access-control-allow-origin"] == "*"
    asked = {**headers, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-foo"}
    answer = client.simulate_options(path, headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_one_trailing_slash_is_accepted(client: Client) -> None:
    for path, status in (("/api/v1/ann/3/", 200), ("/api/v1/ann/count/", 200), ("/api/v1/ann//3", 404)):
        assert client.simulate_get(path).status_code == status


@pytest.mark.parametrize("path", ["/index.html", "/api/v1/anns", "/api/v2/ann", "/API/V1/ANN", "/api/v1/ann/batch/3"])
def test_unknown_path_is_404_in_the_usual_form(client: Client, path: str) -> None:
    answer = client.simulate_get(path)
    assert answer.status_code == 404
    assert set(answer.json) <= {"title", "description"}


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/xml, application/xml", "text/html"])
def test_errors_are_json_or_empty(client: Client, accept: str) -> None:
    answer = client.simulate_get("/api/v1/ann/3?index=nope", headers={"Accept": accept})
    assert answer.status_code == 400
    if answer.content:
        assert answer.json["title"] == "unknown index: nope"


@pytest.mark.parametrize("content_type", ["text/plain", "application/msgpack", "application/x-www-form-urlencoded"])
def test_bodies_that_are_not_json_are_415(client: Client, content_type: str) -> None:
    for path in ("/api/v1/ann/add", "/api/v1/ann/from_embedding"):
        answer = client.simulate_post(path, body=b"x=1", headers={"Content-Type": content_type})
        assert answer.status_code == 415


def test_body_over_the_limit_is_413(open_app: Any) -> None:
    client = Client(open_app(max_body_bytes=100))
    answer = client.simulate_post("/api/v1/ann/add", json={"image_url": "x" * 100, "logos": []})
    assert answer.status_code == 413
    assert "100 are allowed" in answer.json["description"]


def test_body_of_an_unknown_transfer_coding_is_411(client: Client) -> None:
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "gzip, chunked"}
    answer = client.simulate_post("/api/v1/ann/add", headers=headers)
    assert answer.status_code == 411


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZip", "identity, gzip"])
@pytest.mark.parametrize("path", ["/api/v1/ann/add", "/api/v1/ann/from_embedding", "/api/v1/ann/from_image"])
def test_compressed_body_is_415_and_told_as_what_it_is(client: Client, path: str, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    answer = client.simulate_post(path, body=gzip.compress(b"{}"), headers=headers)
    assert (answer.status_code, answer.json["title"]) == (415, "compressed body")
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_body_that_is_said_not_to_be_compressed_is_read(client: Client, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    answer = client.simulate_post("/api/v1/ann/add", body=b'{"image_url": "x", "logos": []}', headers=headers)
    assert answer.json == {"added": 0}


@pytest.mark.parametrize(
    "content_type",
    ["Application/Json", "APPLICATION/JSON", "application/JSON; charset=utf-8", "Application/Json;Charset=UTF-8"],
)
def test_the_case_of_a_media_type_means_nothing(client: Client, content_type: str) -> None:
    headers = {"Content-Type": content_type, "Accept": "APPLICATION/Json"}
    answer = client.simulate_post("/api/v1/ann/add", body=b'{"image_url": "x", "logos": []}', headers=headers)
    assert answer.json == {"added": 0}
    answer = client.simulate_post("/api/v1/ann/from_embedding", body=b"{}", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert answer.json["title"]


def test_head_answers_as_get_on_every_route_but_those_of_the_contract(client: Client) -> None:
    paths = {
        "/": "/",
        "/explorer/{file}": "/explorer/app.js",
        "/docs/{file}": "/docs/index.html",
        "/api/v1/ann/provenance": "/api/v1/ann/provenance?logo_ids=3",
        "/api/v1/ann/search/{logo_id:int}": "/api/v1/ann/search/3",
        "/api/v1/ann/predict/{logo_id:int}": "/api/v1/ann/predict/3?attribute=value",
        "/api/v1/ann/attributes": "/api/v1/ann/attributes?logo_ids=3",
        "/api/v1/ann/attributes/values": "/api/v1/ann/attributes/values?attribute=value",
        "/api/v1/ann/attributes/logos": "/api/v1/ann/attributes/logos?attribute=value&value=a",
        "/api/v1/ann/attributes/candidates": "/api/v1/ann/attributes/candidates?attribute=value&value=a",
    }
    contract = {path.partition("?")[0] for path in ROUTES} | {"/api/v1/ann/{logo_id:int}"}
    routes = {
        *falcon.inspect.inspect_routes(client.app),
    }
    tried = 0
    for route in routes:
        if not any(method.method == "GET" for method in route.methods) or route.path in contract:
            continue
        path = paths.get(route.path, route.path)
        got, head = client.simulate_get(path), client.simulate_head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
        tried += 1
    assert tried >= 8


def test_unexpected_error_is_a_500_in_the_envelope_and_logged(
    open_app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_app()
    monkeypatch.setattr(type(app.parts.store), "seen", lambda self: 1 / 0)
    answer = Client(app).simulate_get("/api/v1/ann/stored")
    assert (answer.status_code, answer.json["title"]) == (500, "internal error")
    assert "ZeroDivisionError" in caplog.text
    assert "ZeroDivision" not in answer.text


@pytest.fixture
def sentry() -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that keeps the reports it receives, and return its DSN."""
    reports: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            reports.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://key@127.0.0.1:{server.server_address[1]}/1", reports
    sentry_sdk.get_client().close()
    sentry_sdk.init(trace_propagation_targets=[])
    server.shutdown()
    server.server_close()


def test_unexpected_error_is_reported_only_if_there_is_a_dsn(
    open_app: Any, monkeypatch: pytest.MonkeyPatch, sentry: tuple[str, list[bytes]], photos: PhotoServer
) -> None:
    dsn, reports = sentry
    app = open_app(sentry_dsn=dsn, instance="test-instance")
    monkeypatch.setattr(type(app.parts.store), "seen", lambda self: 1 / 0)
    Client(app).simulate_get("/api/v1/ann/stored")
    sentry_sdk.flush(5)
    wait_until(lambda: reports)
    assert sentry_sdk.get_client().options["environment"] == "test-instance"
    logos = [{"id": 900, "bounding_box": [0, 0, 1, 1]}]
    added = Client(app).simulate_post("/api/v1/ann/add", json={"image_url": photos.url("/1.jpg"), "logos": logos})
    assert added.json == {"added": 1}
    assert photos.headers[-1].keys() == ["Host", "Accept-Encoding", "User-Agent", "Connection"]
