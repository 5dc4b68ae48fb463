"""Ask for the neighbours of an embedding, and hold answers to exact search."""

from __future__ import annotations

from typing import Any

import falcon.testing
import numpy as np
import pytest

from tests.api.conftest import INDEXED, VECTORS

Client = falcon.testing.TestClient


def exact(query: int, indexed: int = 40) -> list[tuple[int, float]]:
    distances = np.linalg.norm(VECTORS[:indexed].astype(np.float64) - VECTORS[query], axis=1)
    return [(INDEXED[row], distances[row]) for row in np.argsort(distances, kind="stable")]


def assert_neighbours(answer: dict[str, Any], expected: list[tuple[int, float]]) -> None:
    assert answer["count"] == len(answer["results"]) == len(expected)
    assert [row["logo_id"] for row in answer["results"]] == [logo_id for logo_id, _ in expected]
    assert [row["distance"] for row in answer["results"]] == pytest.approx([d for _, d in expected], rel=1e-4, abs=1e-4)


def from_embedding(client: Client, body: Any, **arguments: Any) -> falcon.testing.Result:
    return client.simulate_post("/api/v1/ann/from_embedding", json=body, **arguments)
