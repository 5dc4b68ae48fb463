"""`GET /distances`, `GET /duplicates` and `GET /map/values`: what a build measured, and the map's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from api.app import AnnApp
from index.annoy.build import build_index
from index.distances.survey_file import SURVEY_NAME, NearPairs, Survey, write_survey
from index.files.generations import publish
from index.map.map_file import LogoMap, write_map
from tests.api.conftest import INDEXED, VECTORS

Client = falcon.testing.TestClient
A = "/api/v1/ann"
ONE, TWO, THREE, FOUR = sorted(INDEXED[2:6])
PERCENTILES = np.linspace(0, 2, 101)


@pytest.fixture
def generation(data_dir: Path) -> Path:
    ids, vectors = np.array(INDEXED), np.asarray(VECTORS[:40], np.float32)

    def build(directory: Path) -> Any:
        return build_index(directory, [(ids, vectors)], dim=1280, rows=40, trees=10, stored_rows=60)

    return publish(data_dir / "efficientnet-b0", build)


@pytest.fixture
def surveyed(open_app: Callable[..., AnnApp], generation: Path) -> Client:
    pairs = NearPairs(np.array([[ONE, TWO], [TWO, THREE], [THREE, FOUR]]), np.array([0.0, 0.1, 0.3]))
    write_survey(generation, Survey(PERCENTILES, PERCENTILES / 2, 40, 0.4, pairs))
    return Client(open_app(allow_delete=True))


def get(client: Client, path: str) -> Any:
    answer = client.simulate_get(A + path)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_distances_are_those_that_the_build_measured(surveyed: Client, generation: Path) -> None:
    answer = get(surveyed, "/distances")
    assert answer["generation"] == generation.name
    assert answer["any_two"] == pytest.approx(PERCENTILES.tolist())
    assert answer["nearest"] == pytest.approx((PERCENTILES / 2).tolist())


def test_duplicates_are_groups_up_to_a_distance(surveyed: Client, generation: Path) -> None:
    group = {"logo_ids": [ONE, TWO, THREE, FOUR], "distance": 0.3}
    assert get(surveyed, "/duplicates") == {
        "generation": generation.name,
        "groups": [group],
        "count": 1,
        "total": 1,
        "max_distance": 0.4,
        "cut_off": 0.4,
        "logos_compared": 40,
        "deletable": True,
    }
    assert get(surveyed, "/duplicates?max_distance=0.2")["groups"] == [{"logo_ids": [ONE, TWO, THREE], "distance": 0.1}]
    assert get(surveyed, "/duplicates?max_distance=9")["max_distance"] == 0.4


def test_a_deleted_logo_is_no_duplicate(surveyed: Client) -> None:
    assert surveyed.simulate_delete(f"{A}/{TWO}").status_code == 200
    assert get(surveyed, "/duplicates")["groups"] == [{"logo_ids": [THREE, FOUR], "distance": 0.3}]


def test_duplicates_say_whether_they_can_be_deleted(open_app: Callable[..., AnnApp], surveyed: Client) -> None:
    assert get(Client(open_app()), "/duplicates")["deletable"] is False


def test_an_index_that_was_not_measured_says_what_measures_it(
    open_app: Callable[..., AnnApp], generation: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(open_app())
    for damaged in (False, True):
        if damaged:
            (generation / SURVEY_NAME).write_bytes(b"damaged")
        for path in ("/distances", "/duplicates"):
            answer = client.simulate_get(A + path)
            assert (answer.status_code, answer.json["title"]) == (404, "no distances")
            assert "generate-index" in answer.json["description"]
    assert [record.levelname for record in caplog.records if SURVEY_NAME in record.getMessage()] == ["ERROR"]


def test_the_map_is_told_the_value_of_each_logo(open_app: Callable[..., AnnApp], generation: Path) -> None:
    write_map(generation, LogoMap(np.array([THREE, ONE, FOUR, TWO]), np.zeros((4, 2), np.int64)))
    client = Client(open_app())
    path = "/map/values?attribute=value"
    assert get(client, path) == {"generation": generation.name, "values": [], "of_logos": [-1] * 4}
    values = {ONE: "b", TWO: "a", THREE: "b", INDEXED[9]: "c"}
    logos = [{"id": logo_id, "attributes": {"value": value}} for logo_id, value in values.items()]
    assert client.simulate_put(f"{A}/attributes", json={"logos": logos}).status_code == 200
    assert get(client, path) == {
        "generation": generation.name,
        "values": [{"value": "b", "logos": 2}, {"value": "a", "logos": 1}],
        "of_logos": [0, 0, -1, 1],
    }
    assert client.simulate_get(f"{A}/map/values").status_code == 400


def test_a_map_that_is_not_drawn_has_no_values(client: Client) -> None:
    answer = client.simulate_get(f"{A}/map/values?attribute=value")
    assert (answer.status_code, answer.json["title"]) == (404, "no map")
