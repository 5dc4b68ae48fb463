"""What every route has in common: methods, CORS, errors, limits."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

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


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
def test_other_methods_are_405(client: Client, path: str, method: str) -> None:
    for other in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"} - {method}:
        assert client.simulate_request(other, path).status_code == 405


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
def test_options_name_the_method(client: Client, path: str, method: str) -> None:
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
def test_unknown_path_is_404_in_the_one_envelope(client: Client, path: str) -> None:
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


def test_body_without_a_length_is_411(client: Client) -> None:
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    answer = client.simulate_post("/api/v1/ann/add", headers=headers)
    assert answer.status_code == 411


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
    """A DSN whose server keeps what it is sent."""
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


def test_unexpected_error_is_reported_where_a_dsn_says_and_nowhere_else(
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
