"""The recorded requests get the same answers with Milvus as with Annoy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from api.app import AnnApp, create_app
from embeddings.store.store import EmbeddingStore
from runtime.startup import prepare
from settings import Settings
from tests.milvus import indexed
from tests.milvus.servers.server import MilvusServer
from tests.openapi.test_recorded_requests import RECORDED
from tests.original_files import random_vectors, write_pair
from tests.photo_server import PhotoServer, photo
from tests.settings_with import settings_with

Client = falcon.testing.TestClient
EXACT = 10**6  # nodes that Annoy inspects: all there are
STORED_ONLY = 28614
INDEXED = [3, 1048581, 2147483647, *range(5001, 5248)]
STORED = [*INDEXED, STORED_ONLY, *range(6001, 6050)]  # 300
IMAGES = "http://127.0.0.1:5599"
BROKEN = {"/not_image.jpg": b"<html>", "/empty.jpg": b""}
FAILING = {"/nothing.jpg", "/status/500"}
IMAGE_PATHS = {
    path
    for recorded in RECORDED
    for path in re.findall(rf'{IMAGES}([^"#]+)', recorded["body"] or "")
    if path not in FAILING
}


@pytest.fixture
def data_dirs(tmp_path: Path) -> list[Path]:
    """Return two equal stores, one for each engine."""
    vectors = random_vectors(len(STORED))
    for name in ("annoy", "milvus"):
        settings = Settings(data_dir=tmp_path / name, store_capacity=2000)
        prepare(settings)
        with EmbeddingStore(settings.store_path) as store:
            store.append(STORED, vectors)
    write_pair(tmp_path / "annoy" / indexed.INDEX, INDEXED, vectors[: len(INDEXED)])
    return [tmp_path / "annoy", tmp_path / "milvus"]


def send(client: Client, recorded: Any, photos: PhotoServer) -> falcon.testing.Result:
    body = recorded["body"]
    if body is not None:
        body = body.replace(IMAGES, photos.url("").removesuffix("/")).encode("latin-1")
    path, _, query = recorded["path"].partition("?")
    headers = {name: value for name, value in recorded["headers"].items() if name.lower() != "content-length"}
    return client.simulate_request(recorded["method"], path, query_string=query, headers=headers, body=body)


def json_of(answer: falcon.testing.Result) -> Any:
    try:
        return json.loads(answer.text)
    except ValueError:
        return None


def alike(one: Any, other: Any) -> bool:
    """Return whether two answers are the same, distances up to a thousandth."""
    if isinstance(one, float) and isinstance(other, (int, float)):
        return abs(one - other) <= 1e-3 * max(1.0, one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    return bool(one == other)


def shape(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: shape(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [shape(value) for value in answer]
    return type(answer).__name__


def headers_of(answer: falcon.testing.Result) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "content-length")}


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_each_recorded_request_is_answered_as_annoy_answers_it(
    milvus: MilvusServer, data_dirs: list[Path], open_app: Callable[..., AnnApp], photos: PhotoServer
) -> None:
    of_annoy, of_milvus = data_dirs
    vectors = random_vectors(len(STORED))
    indexed.note_as_indexed(of_milvus, indexed.index(milvus, INDEXED, vectors))
    annoy_app = create_app(settings_with(data_dir=of_annoy, search_k=EXACT, allow_private_image_hosts=True))
    annoy, other = Client(annoy_app), Client(open_app(milvus, data_dir=of_milvus, allow_delete=False))
    photos.photos = dict.fromkeys(IMAGE_PATHS, photo(1)) | BROKEN
    unlike = []
    for recorded in RECORDED:
        expected, answer = send(annoy, recorded, photos), send(other, recorded, photos)
        same = answer.status_code == expected.status_code and answer.status_code in recorded["statuses"]
        if recorded["answer"] is None or recorded["name"].startswith("random"):
            same &= shape(json_of(answer)) == shape(json_of(expected))
        else:
            same &= alike(json_of(expected), json_of(answer))
        same &= headers_of(answer) == headers_of(expected)
        if not same:
            unlike.append((recorded["name"], answer.status_code, answer.text[:200], expected.text[:200]))
    annoy_app.parts.close()
    assert len(RECORDED) == 200
    assert unlike == []
