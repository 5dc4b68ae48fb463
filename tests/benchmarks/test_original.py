"""The rebuilt original answers the requests of the benchmark."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import falcon.testing
import numpy as np
import pytest
from annoy import AnnoyIndex
from numpy.typing import NDArray

from benchmarks.original_service import (
    DIM,
    FOLDER_VARIABLE,
    INDEX,
    KEYS,
    STORE,
    OriginalLogos,
    create_app,
    create_store,
)
from tests.photo_server import PhotoServer

VECTORS = np.random.default_rng(1).random((12, DIM), np.float32)
INDEXED, STORED_ONLY = list(range(101, 111)), 201


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> falcon.testing.TestClient:
    annoy = AnnoyIndex(DIM, "euclidean")
    for item, vector in enumerate(VECTORS[:10]):
        annoy.add_item(item, vector)
    annoy.build(2)
    annoy.save(str(tmp_path / INDEX))
    (tmp_path / KEYS).write_text("\n".join(map(str, INDEXED)))
    with create_store(tmp_path / STORE, 20) as file:
        file["external_id"][:11] = [*INDEXED, STORED_ONLY]
        file["embedding"][:11] = VECTORS[:11]
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return falcon.testing.TestClient(create_app())


def test_indexed_and_stored_logos_have_neighbours(client: falcon.testing.TestClient) -> None:
    indexed = client.simulate_get("/api/v1/ann/103?count=3").json
    assert indexed["count"] == 3
    assert indexed["results"][0] == {"distance": 0.0, "logo_id": 103}
    stored = client.simulate_get(f"/api/v1/ann/{STORED_ONLY}?count=10").json
    assert sorted(row["logo_id"] for row in stored["results"]) == INDEXED
    assert client.simulate_get("/api/v1/ann/999").status_code == 404


def test_a_batch_answers_each(client: falcon.testing.TestClient) -> None:
    batch = client.simulate_get("/api/v1/ann/batch?logo_ids=101,201&count=2").json
    assert list(batch["results"]) == ["101", "201"]


def test_an_added_logo_is_stored(client: falcon.testing.TestClient) -> None:
    def model(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        return VECTORS[: len(crops)]

    with PhotoServer() as photos, patch.object(OriginalLogos, "_model", staticmethod(model)):
        wanted = {"image_url": photos.url("/1.jpg"), "logos": [{"id": 7, "bounding_box": [0.1, 0.1, 0.9, 0.9]}]}
        assert client.simulate_post("/api/v1/ann/add", json=wanted).json == {"added": 1}
    (first, *_) = client.simulate_get("/api/v1/ann/7?count=1").json["results"]
    assert first["logo_id"] == 101
