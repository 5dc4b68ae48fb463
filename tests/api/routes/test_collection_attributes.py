"""Attributes, filters and votes in a collection with a store of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from api.app import create_app
from embeddings.collection.definition import CollectionDefinition
from embeddings.collection.directory import CollectionDirectory
from tests.settings_with import settings_with

API = "/api/v1/ann"
IDS = [1, 2, 3, 4]
VECTORS = np.array([[1, 0, 0], [20, 1, 0], [0, 1, 0], [0, 0.1, 0.01]], np.float32)
BRANDS = {1: "acme", 2: "acme", 3: "other"}
Client = falcon.testing.TestClient


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    CollectionDirectory(tmp_path).create(CollectionDefinition("clip", 3, "cosine"))
    app = create_app(settings_with(data_dir=tmp_path, store_capacity=50, allow_delete=True))
    yield Client(app)
    app.parts.close()


def add(client: Client, attributes: dict[int, dict[str, Any]]) -> falcon.testing.Result:
    logos = [
        {"id": logo_id, "embedding": vector.tolist(), "attributes": attributes.get(logo_id, {})}
        for logo_id, vector in zip(IDS, VECTORS, strict=True)
    ]
    return client.simulate_post(f"{API}/add_embeddings?index=clip", json={"logos": logos})


def attributes_of(client: Client, query: str) -> Any:
    return client.simulate_get(f"{API}/attributes?logo_ids=1,2,3,4&{query}").json


def test_attributes_are_set_with_the_logos_of_the_collection_alone(client: Client) -> None:
    sent = {logo_id: {"value": brand} for logo_id, brand in BRANDS.items()}
    assert add(client, sent).json == {"added": 4}
    assert attributes_of(client, "index=clip") == {"attributes": {str(i): a for i, a in sent.items()}, "count": 3}
    assert attributes_of(client, "")["count"] == 0


def test_a_request_that_is_sent_again_sets_the_attributes_of_stored_logos(client: Client) -> None:
    add(client, {1: {"type": "brand"}})
    assert add(client, {1: {"value": "acme"}, 2: {"value": "acme"}}).json == {"added": 0}
    expected = {"1": {"type": "brand", "value": "acme"}, "2": {"value": "acme"}}
    assert attributes_of(client, "index=clip")["attributes"] == expected


def test_an_attribute_that_cannot_be_stored_keeps_all_logos_out(client: Client) -> None:
    answer = add(client, {1: {"value": "acme"}, 3: {"Value": "acme"}})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid attribute")
    assert "logo 3" in answer.json["description"]
    assert client.simulate_get(f"{API}/count?index=clip").json == {"count": 0}


def test_filters_and_votes_measure_by_cosine(client: Client) -> None:
    add(client, {logo_id: {"value": brand} for logo_id, brand in BRANDS.items()})
    cosine = float(VECTORS[0] @ VECTORS[1] / np.linalg.norm(VECTORS[1]))
    near = client.simulate_get(f"{API}/3?index=clip&where=value:acme").json["results"]
    assert [row["logo_id"] for row in near] == [2, 1]
    assert near[1]["distance"] == pytest.approx(1, abs=1e-6)
    one = client.simulate_get(f"{API}/search/1?index=clip&max_distance=0.5").json
    assert [row["logo_id"] for row in one["results"]] == [2]
    assert one["results"][0]["distance"] == pytest.approx(1 - cosine, abs=1e-6)
    assert client.simulate_get(f"{API}/predict/4?index=clip&attribute=value&k=1").json["value"] == "other"


def test_logos_deleted_from_a_collection_lose_their_attributes(client: Client) -> None:
    add(client, {1: {"value": "acme"}, 2: {"value": "acme"}})
    answer = client.simulate_post(f"{API}/delete?index=clip", json={"logo_ids": [1, 9]})
    assert answer.json == {"deleted": 1}
    assert attributes_of(client, "index=clip")["attributes"] == {"2": {"value": "acme"}}


def test_a_mistyped_collection_is_not_taken_for_the_default_one(client: Client) -> None:
    body = {"logos": [{"id": 1, "attributes": {"value": "acme"}}]}
    for answer in (
        client.simulate_put(f"{API}/attributes?index=clap", json=body),
        client.simulate_get(f"{API}/attributes?index=clap&logo_ids=1"),
        client.simulate_post(f"{API}/delete?index=clap", json={"logo_ids": [1]}),
    ):
        assert (answer.status_code, answer.json["title"]) == (400, "unknown index: clap")
