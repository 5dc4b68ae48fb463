"""`POST /from_embedding`: search by a vector that is sent."""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest

from tests.api.conftest import VECTORS
from tests.api.routes.neighbours import assert_neighbours, exact, from_embedding

Client = falcon.testing.TestClient


@pytest.fixture
def client(shared_client: Client) -> Client:
    return shared_client


def test_embedding_finds_its_neighbours(client: Client) -> None:
    answer = from_embedding(client, {"embedding": VECTORS[41].tolist(), "count": 3})
    assert_neighbours(answer.json, exact(41)[:3])


def test_embedding_returns_one_neighbour_by_default(client: Client) -> None:
    assert_neighbours(from_embedding(client, {"embedding": VECTORS[0].tolist()}).json, exact(0)[:1])


def test_every_embedding_of_the_right_dimension_has_neighbours(client: Client) -> None:
    for vector in ([0] * 1280, [1e-30] * 1280, [-1e16] * 1280, [2**50, *range(1279)]):
        answer = from_embedding(client, {"embedding": vector, "count": 2})
        assert answer.status_code == 200
        assert answer.json["count"] == 2
        assert all(isinstance(row["distance"], float) for row in answer.json["results"])


@pytest.mark.parametrize("length", [0, 1, 1279, 1281, 2048])
def test_wrong_dimension_is_400(client: Client, length: int) -> None:
    answer = from_embedding(client, {"embedding": [0.5] * length})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid dimension")


@pytest.mark.parametrize("embedding", [["a"] * 1280, ["0.5"], [1, None], [[0.5] * 1280], "vector", "", {}, {"0": 0.5}])
def test_what_has_a_length_and_is_no_vector_has_an_invalid_dimension(client: Client, embedding: Any) -> None:
    answer = from_embedding(client, {"embedding": embedding})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid dimension")
    assert answer.json["description"].startswith("body.embedding")


@pytest.mark.parametrize("count", [0, 501, -1, "x", None, 1.5, True, [1]])
def test_invalid_count_is_400(client: Client, count: Any) -> None:
    answer = from_embedding(client, {"embedding": [0.5] * 1280, "count": count})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid dimension or count")


@pytest.mark.parametrize("body", [None, [], 5, {}, {"embedding": 5}, {"embedding": None}, {"embedding": True}])
def test_other_bodies_are_400_and_say_why(client: Client, body: Any) -> None:
    answer = from_embedding(client, body)
    assert (answer.status_code, answer.json["title"] == "invalid dimension") == (400, False)
    assert answer.json["description"]


def test_embedding_too_large_for_a_distance_is_400(client: Client) -> None:
    for value in (1e19, -1e300):
        answer = from_embedding(client, {"embedding": [value] + [0.0] * 1279})
        assert (answer.status_code, answer.json["title"]) == (400, "invalid embedding")


@pytest.mark.parametrize("body", ["", "{bad", '{"embedding": [NaN]}', "\xff\xfe"])
def test_body_that_is_not_json_is_400(client: Client, body: str) -> None:
    answer = client.simulate_post(
        "/api/v1/ann/from_embedding", body=body.encode("latin-1"), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json["title"]


def test_index_of_an_embedding_is_checked_before_its_dimension(client: Client) -> None:
    answer = from_embedding(client, {"embedding": [1.0]}, query_string="index=nope")
    assert answer.json["title"] == "unknown index: nope"


def test_json_nested_too_deeply_is_400(client: Client) -> None:
    for path in ("/api/v1/ann/add", "/api/v1/ann/from_embedding"):
        body = b'{"x":' + b"[" * 600 + b"]" * 600 + b"}"
        answer = client.simulate_post(path, body=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json["title"]) == (400, "invalid request")
