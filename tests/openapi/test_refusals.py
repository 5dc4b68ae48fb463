"""Every status that the document says requests are refused with is answered by the running service, in that form."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.embeddings.damage import damage_embedding
from tests.openapi.test_document import validator
from tests.openapi.toured_service import TouredService
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE, wait_until

API = "/api/v1/ann"
BOX = [0.1, 0.1, 0.9, 0.9]
Answer = tuple[int, dict[str, str], Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TouredService]:
    """A service with little room, that holds the logos 1 and 2 and has no index; that of 1 is damaged."""
    settings = {
        "ANN_STORE_CAPACITY": "3",
        "ANN_ADD_CONCURRENCY": "1",
        "ANN_MAX_BODY_BYTES": "3000",
        "ANN_RECEIVE_SECONDS": "1",
    }
    with PhotoServer() as photos, TouredService(tmp_path_factory.mktemp("refusing"), photos, settings) as service:
        assert service.add(photos.url("/photo-001.jpg"), 1, 2).json() == {"added": 2}
        damage_embedding(service.data_dir / "efficientnet-b0.hdf5", row=0)
        yield service


def get(path: str) -> Callable[[TouredService], Answer]:
    return lambda service: _of(service.request("GET", API + path))


def post(path: str, body: bytes | str, content_type: str = "application/json") -> Callable[[TouredService], Answer]:
    return lambda service: _of(service.request("POST", API + path, data=body, headers={"Content-Type": content_type}))


def raw(request: bytes) -> Callable[[TouredService], Answer]:
    def send(service: TouredService) -> Answer:
        with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
            client.sendall(request)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return answer.status, dict(answer.getheaders()), json.loads(answer.read())

    return send


def while_another_add_waits(service: TouredService) -> Answer:
    before = service.photos.requests
    waiting = threading.Thread(target=lambda: service.add(service.photos.url("/slow"), 1007))
    waiting.start()
    try:
        wait_until(lambda: service.photos.requests > before)
        return _of(service.add(service.photos.url("/photo-001.jpg"), 1008))
    finally:
        service.photos.release.set()
        waiting.join()


def without_the_token(service: TouredService) -> Answer:
    folder = service.data_dir.parent / "guarded"
    folder.mkdir()
    with TouredService(folder, service.photos, {"ANN_READ_TOKEN": "a-token-to-read"}) as guarded:
        return _of(guarded.request("GET", f"{API}/count"))


def more_than_there_is_room_for(service: TouredService) -> Answer:
    return _of(service.add(service.photos.url("/photo-001.jpg"), *range(3001, 3009)))


def _of(answer: requests.Response) -> Answer:
    return answer.status_code, dict(answer.headers), answer.json()


REFUSED: list[tuple[int, str, str, Callable[[TouredService], Answer]]] = [
    (400, "get", "/{logo_id}", get("/2?count=0")),
    (400, "post", "/add", post("/add", "{}")),
    (400, "post", "/from_embedding", post("/from_embedding", '{"embedding": [1]}')),
    (400, "post", "/from_image", post("/from_image", b"no image", "image/png")),
    (400, "get", "/batch", get("/batch?logo_ids=a")),
    (401, "get", "/count", without_the_token),
    (404, "get", "/{logo_id}", get("/7")),
    (404, "get", "/map", get("/map")),
    (405, "post", "/batch", post("/batch", "logo_ids=2&count=1", "application/x-www-form-urlencoded")),
    (408, "get", "/count", raw(b"GET /api/v1/ann/count HTTP/1.1\r\nHost: a\r\n")),
    (411, "post", "/add", raw(b"POST /api/v1/ann/add HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")),
    (413, "post", "/add", post("/add", b" " * 3001)),
    (414, "get", "/batch", get("/batch?logo_ids=1" + "2" * 9000)),
    (415, "post", "/from_embedding", post("/from_embedding", "a", "text/plain")),
    (415, "post", "/from_image", post("/from_image", "a", "text/plain")),
    (431, "get", "/count", raw(b"GET /api/v1/ann/count HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2**17)),
    (500, "get", "/{logo_id}", get("/1")),
    (503, "post", "/add", while_another_add_waits),
    (507, "post", "/add", more_than_there_is_room_for),
]


@pytest.mark.parametrize(
    ("status", "method", "path", "send"), REFUSED, ids=[f"{status}_{path}" for status, _, path, _ in REFUSED]
)
def test_request_is_refused_as_the_document_says(
    service: TouredService, status: int, method: str, path: str, send: Callable[[TouredService], Answer]
) -> None:
    document = service.document
    written = document["paths"][API + path][method]["responses"][str(status)]
    if "$ref" in written:
        written = document["components"]["responses"][str(status)]
    answered, headers, body = send(service)
    assert answered == status, body
    names = {name.lower() for name in headers}
    assert {name.lower() for name in written["headers"]} <= names
    assert next(value for name, value in headers.items() if name.lower() == "content-type") == "application/json"
    validator(written["content"]["application/json"]["schema"], document).validate(body)


def test_every_refusal_of_the_document_was_tried(service: TouredService) -> None:
    shared = service.document["components"]["responses"]
    refusals = {status for status in shared if re.fullmatch("[45][0-9][0-9]", status)}
    assert {str(status) for status, *_ in REFUSED} == refusals
