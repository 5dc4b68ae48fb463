"""Error reports as a Sentry server receives them: over HTTP, without secrets."""

from __future__ import annotations

import gzip
import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import falcon.testing
import pytest
import sentry_sdk

from api.app import AnnApp
from tests.api.conftest import VECTORS
from tests.photo_server import PhotoServer
from tests.waiting import wait_until
from version import VERSION

Client = falcon.testing.TestClient
SECRET = "s3cr3t"


class Sentry:
    """A server that keeps the events it receives."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.raw = ""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.raw += body.decode()
                _, *items = body.decode().splitlines()
                for head, item in zip(items[::2], items[1::2], strict=False):
                    if json.loads(head)["type"] == "event":
                        outer.events.append(json.loads(item))
                self.send_response(200)
                self.end_headers()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.dsn = f"http://publickey@127.0.0.1:{self.server.server_address[1]}/1"


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    sentry = Sentry()
    yield sentry
    sentry_sdk.get_client().close()
    sentry_sdk.init(trace_propagation_targets=[])
    sentry.server.shutdown()
    sentry.server.server_close()


def test_report_names_release_environment_and_request_and_contains_no_secret(
    open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch, sentry: Sentry, photos: PhotoServer
) -> None:
    app = open_app(sentry_dsn=sentry.dsn, instance="staging", revision="4f2a9c1")
    client = Client(app)
    image_url = photos.url(f"/1.jpg?signature={SECRET}")

    def fail(*_: object) -> None:
        raise RuntimeError(f"broken at {image_url} by HTTPS://user:{SECRET}@host/path")

    monkeypatch.setattr(type(app.parts.store), "append", fail)
    body = {"image_url": image_url, "logos": [{"id": 900, "bounding_box": [0, 0, 1, 1]}]}
    headers = {"X-Request-ID": "the-add", "Authorization": f"Bearer {SECRET}", "Cookie": f"a={SECRET}"}
    photos.photos[f"/1.jpg?signature={SECRET}"] = photos.photos["/1.jpg"]
    answer = client.simulate_post(f"/api/v1/ann/add?count=1&key={SECRET}", json=body, headers=headers)
    assert answer.status_code == 500
    sentry_sdk.flush(5)
    wait_until(lambda: sentry.events)
    for event in sentry.events:
        assert event["release"] == f"robotoff-ann@{VERSION}+4f2a9c1"
        assert event["environment"] == "staging"
        assert event["tags"]["request_id"] == "the-add"
    assert any("broken at" in json.dumps(event) for event in sentry.events)
    assert SECRET not in sentry.raw
    assert "data" not in sentry.events[0].get("request", {})


def test_report_of_a_query_contains_no_embedding(
    open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch, sentry: Sentry
) -> None:
    app = open_app(sentry_dsn=sentry.dsn)
    embedding = [1 / 7, *VECTORS[0].tolist()[1:]]
    monkeypatch.setattr(type(app.parts.catalog.get(None)), "nearest_to_vector", lambda *_: 1 / 0)
    answer = Client(app).simulate_post("/api/v1/ann/from_embedding", json={"embedding": embedding})
    assert answer.status_code == 500
    sentry_sdk.flush(5)
    wait_until(lambda: sentry.events)
    assert repr(embedding[0]) not in sentry.raw
    assert "vars" not in json.dumps(sentry.events)


def test_errors_outside_requests_are_reported_without_an_id(open_app: Callable[..., AnnApp], sentry: Sentry) -> None:
    open_app(sentry_dsn=sentry.dsn)
    thread = threading.Thread(target=lambda: logging.getLogger("index").error("the disk is gone"))
    thread.start()
    thread.join()
    sentry_sdk.flush(5)
    wait_until(lambda: sentry.events)
    assert sentry.events[0]["logentry"]["message"] == "the disk is gone"
    assert "request_id" not in sentry.events[0].get("tags", {})
