"""A collection named `clip` with a store of its own, logos for it, and requests that name it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest
from numpy.typing import NDArray

from api.app import AnnApp, create_app
from embeddings.collection.definition import CollectionDefinition
from tests.settings_with import settings_with

API = "/api/v1/ann"
CLIP = CollectionDefinition("clip", 8, "cosine")
IDS = [3, 7, 11, 2**62, 5]
VECTORS = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
VECTORS *= np.array([[1], [20], [0.1], [3], [1]], np.float32)  # of many lengths
Client = falcon.testing.TestClient


@contextmanager
def apps_on(data_dir: Path) -> Iterator[Callable[..., AnnApp]]:
    """Opens apps on a data directory, with changes to their settings; closes them at the end."""
    apps = []

    def open_one(**changes: Any) -> AnnApp:
        values = {"data_dir": data_dir, "store_capacity": 50, "reload_seconds": 0.05, **changes}
        apps.append(create_app(settings_with(**values)))
        return apps[-1]

    yield open_one
    for app in apps:
        app.parts.close()


def as_base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def logos(ids: list[int] = IDS, vectors: NDArray[np.float32] = VECTORS) -> list[dict[str, Any]]:
    """Logos as a client sends them: every other one as base64."""
    return [
        {"id": logo_id, "embedding": as_base64(vector) if place % 2 else vector.tolist()}
        for place, (logo_id, vector) in enumerate(zip(ids, vectors, strict=True))
    ]


def add(client: Client, sent: Any, query: str = "index=clip") -> Any:
    return client.simulate_post(f"{API}/add_embeddings?{query}", json={"logos": sent})


def get(client: Client, path: str) -> Any:
    answer = client.simulate_get(API + path)
    assert answer.status_code == 200, answer.text
    return answer.json


def by_cosine(query: NDArray[np.float32], vectors: NDArray[np.float32] = VECTORS) -> list[tuple[int, float]]:
    """What all logos' distances are, in float64."""
    wide, of = vectors.astype(np.float64), query.astype(np.float64)
    distances = 1 - wide @ of / np.linalg.norm(wide, axis=1) / np.linalg.norm(of)
    return sorted(zip(IDS, distances.tolist(), strict=True), key=lambda pair: pair[1])


def assert_neighbours(answer: Any, expected: list[tuple[int, float]]) -> None:
    assert [row["logo_id"] for row in answer["results"]] == [logo_id for logo_id, _ in expected]
    assert [row["distance"] for row in answer["results"]] == pytest.approx([d for _, d in expected], abs=1e-6)
