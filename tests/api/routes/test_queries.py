"""The routes that answer neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.original_files import write_pair, write_store

Client = falcon.testing.TestClient


@pytest.fixture
def client(shared_client: Client) -> Client:
    return shared_client


def exact(query: int, indexed: int = 40) -> list[tuple[int, float]]:
    distances = np.linalg.norm(VECTORS[:indexed].astype(np.float64) - VECTORS[query], axis=1)
    return [(INDEXED[row], distances[row]) for row in np.argsort(distances, kind="stable")]


def assert_neighbours(answer: dict[str, Any], expected: list[tuple[int, float]]) -> None:
    assert answer["count"] == len(answer["results"]) == len(expected)
    assert [row["logo_id"] for row in answer["results"]] == [logo_id for logo_id, _ in expected]
    assert [row["distance"] for row in answer["results"]] == pytest.approx([d for _, d in expected], rel=1e-4, abs=1e-4)


def test_indexed_logo_is_its_own_nearest_neighbour(client: Client) -> None:
    answer = client.simulate_get("/api/v1/ann/3?count=5")
    assert answer.status_code == 200
    assert answer.json["results"][0] == {"distance": 0.0, "logo_id": 3}
    assert_neighbours(answer.json, exact(0)[:5])


def test_stored_logo_is_looked_up_by_its_vector_and_not_among_its_neighbours(client: Client) -> None:
    answer = client.simulate_get(f"/api/v1/ann/{STORED_ONLY[0]}?count=7")
    assert_neighbours(answer.json, exact(40)[:7])


def test_count_is_100_by_default_and_a_larger_one_gives_the_whole_index(client: Client) -> None:
    assert client.simulate_get("/api/v1/ann/3").json["count"] == 40
    assert client.simulate_get("/api/v1/ann/3?count=500").json["count"] == 40


@pytest.mark.parametrize("logo_id", ["7", "0", "-1", str(2**63), "9" * 400, "abc", "1.5", "%203"])
def test_unknown_logo_is_404(client: Client, logo_id: str) -> None:
    assert client.simulate_get(f"/api/v1/ann/{logo_id}").status_code == 404


@pytest.mark.parametrize("count", ["0", "501", "-1", "abc", "", "1.5"])
@pytest.mark.parametrize("path", ["/api/v1/ann/3", "/api/v1/ann", "/api/v1/ann/batch"])
def test_bad_count_is_400_and_checked_first(client: Client, path: str, count: str) -> None:
    answer = client.simulate_get(path, query_string=f"count={count}&index=nope")
    assert answer.status_code == 400
    assert "count" in answer.json["title"] + answer.json["description"]


def test_unknown_index_is_named_in_the_title(client: Client) -> None:
    for path in ("/api/v1/ann/3?index=nope", "/api/v1/ann?index=nope", "/api/v1/ann/batch?logo_ids=3&index=nope"):
        answer = client.simulate_get(path)
        assert (answer.status_code, answer.json["title"]) == (400, "unknown index: nope")


def test_of_repeated_parameters_the_last_counts(client: Client) -> None:
    assert client.simulate_get("/api/v1/ann/3?count=2&count=3").json["count"] == 3
    assert client.simulate_get("/api/v1/ann/3?count=5,6").json["count"] == 6
    assert client.simulate_get("/api/v1/ann/3?Count=2").json["count"] == 40


def test_random_logo_is_one_of_the_index(client: Client) -> None:
    first = [client.simulate_get("/api/v1/ann/?count=1").json["results"][0] for _ in range(30)]
    assert all(row["distance"] == 0.0 and row["logo_id"] in INDEXED for row in first)
    assert len({row["logo_id"] for row in first}) > 3


def test_batch_answers_known_logos_in_request_order(client: Client) -> None:
    answer = client.simulate_get(
        "/api/v1/ann/batch", query_string=f"logo_ids={STORED_ONLY[0]},999999,3,3,-5,{2**70}&count=2"
    )
    assert list(answer.json["results"]) == [str(STORED_ONLY[0]), "3"]
    assert answer.json["count"] == 2
    single = client.simulate_get(f"/api/v1/ann/{STORED_ONLY[0]}?count=2").json["results"]
    assert answer.json["results"][str(STORED_ONLY[0])] == single


@pytest.mark.parametrize("ids", ["3,1001", "3%2C1001", "3&logo_ids=1001", "003,1001"])
def test_batch_takes_ids_in_every_form_that_clients_send(client: Client, ids: str) -> None:
    answer = client.simulate_get("/api/v1/ann/batch", query_string=f"logo_ids={ids}&count=1")
    assert answer.json["count"] == 2


@pytest.mark.parametrize("query", ["", "logo_ids=", "logo_ids", "logo_ids=3,,4", "logo_ids=3,abc", "logo_ids=[3]"])
def test_batch_without_proper_ids_is_400(client: Client, query: str) -> None:
    answer = client.simulate_get("/api/v1/ann/batch", query_string=query)
    assert answer.status_code == 400
    assert "logo_ids" in answer.json["description"]


def test_batch_of_too_many_ids_says_how_many_are_allowed(open_app: Any) -> None:
    client = Client(open_app(max_batch_logos=3))
    assert client.simulate_get("/api/v1/ann/batch?logo_ids=1,2,3").status_code == 200
    answer = client.simulate_get("/api/v1/ann/batch?logo_ids=1,2,3,4")
    assert answer.status_code == 400
    assert "3 are allowed" in answer.json["description"]


def test_unknown_batch_is_an_empty_200(client: Client) -> None:
    answer = client.simulate_get("/api/v1/ann/batch?logo_ids=77,78")
    assert (answer.status_code, answer.json) == (200, {"results": {}, "count": 0})


def from_embedding(client: Client, body: Any, **arguments: Any) -> falcon.testing.Result:
    return client.simulate_post("/api/v1/ann/from_embedding", json=body, **arguments)


def test_embedding_finds_its_neighbours(client: Client) -> None:
    answer = from_embedding(client, {"embedding": VECTORS[41].tolist(), "count": 3})
    assert_neighbours(answer.json, exact(41)[:3])


def test_embedding_gives_one_neighbour_by_default(client: Client) -> None:
    assert_neighbours(from_embedding(client, {"embedding": VECTORS[0].tolist()}).json, exact(0)[:1])


def test_every_embedding_of_the_right_dimension_is_answered(client: Client) -> None:
    for vector in ([0] * 1280, [1e-30] * 1280, [-1e16] * 1280, [2**50, *range(1279)]):
        answer = from_embedding(client, {"embedding": vector, "count": 2})
        assert answer.status_code == 200
        assert answer.json["count"] == 2
        assert all(isinstance(row["distance"], float) for row in answer.json["results"])


@pytest.mark.parametrize("length", [0, 1, 1279, 1281, 2048])
def test_other_dimension_is_400(client: Client, length: int) -> None:
    answer = from_embedding(client, {"embedding": [0.5] * length})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid dimension")


@pytest.mark.parametrize("count", [0, 501, -1, "x", None, 1.5, True, [1]])
def test_other_count_is_400(client: Client, count: Any) -> None:
    answer = from_embedding(client, {"embedding": [0.5] * 1280, "count": count})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid dimension or count")


@pytest.mark.parametrize("body", [None, [], 5, {}, {"embedding": 5}, {"embedding": None}, {"embedding": ["a"] * 1280}])
def test_other_bodies_are_400_and_say_why(client: Client, body: Any) -> None:
    answer = from_embedding(client, body)
    assert answer.status_code == 400
    assert answer.json["description"]


def test_embedding_too_large_for_a_distance_is_400(client: Client) -> None:
    for value in (1e19, -1e300):
        answer = from_embedding(client, {"embedding": [value] + [0.0] * 1279})
        assert (answer.status_code, answer.json["title"]) == (400, "invalid embedding")


@pytest.mark.parametrize("body", ["", "{bad", '{"embedding": [NaN]}', "\xff\xfe"])
def test_no_json_is_400(client: Client, body: str) -> None:
    answer = client.simulate_post(
        "/api/v1/ann/from_embedding", body=body.encode("latin-1"), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json["title"]


def test_embedding_asks_for_the_index_before_the_dimension(client: Client) -> None:
    answer = from_embedding(client, {"embedding": [1.0]}, query_string="index=nope")
    assert answer.json["title"] == "unknown index: nope"


def test_second_index_is_chosen_by_name(open_app: Any, data_dir: Path) -> None:
    write_pair(data_dir / "brands", INDEXED[:5], VECTORS[:5])
    client = Client(open_app())
    assert client.simulate_get("/api/v1/ann/3?index=brands").json["count"] == 5
    assert client.simulate_get("/api/v1/ann/3?index=efficientnet-b0").json["count"] == 40


def test_fresh_install_answers_nothing_rather_than_failing(open_app: Any, tmp_path: Path) -> None:
    client = Client(open_app(data_dir=tmp_path / "fresh" / "data"))
    assert client.simulate_get("/api/v1/ann/?count=1").json == {"results": [], "count": 0}
    assert client.simulate_get("/api/v1/ann/count").json == {"count": 0}
    assert client.simulate_get("/api/v1/ann/stored").json == {"stored": []}
    assert client.simulate_get("/api/v1/ann/3").status_code == 404
    assert client.simulate_get("/api/v1/ann?index=other").json["title"] == "unknown index: other"
    answer = from_embedding(client, {"embedding": [0.0] * 1280})
    assert (answer.status_code, answer.json) == (200, {"results": [], "count": 0})
    assert from_embedding(client, {"embedding": [0.0]}).json["title"] == "invalid dimension"


def test_stored_and_count_tell_what_is_stored(client: Client) -> None:
    assert client.simulate_get("/api/v1/ann/count").json == {"count": 60}
    assert client.simulate_get("/api/v1/ann/stored").json == {"stored": LOGO_IDS}


def test_broken_index_is_never_served(open_app: Any, data_dir: Path) -> None:
    keys = data_dir / "efficientnet-b0" / "index.txt"
    keys.write_text("\n".join(keys.read_text().split()[:-1]) + "\n")
    client = Client(open_app())
    answer = client.simulate_get("/api/v1/ann/3")
    assert answer.status_code == 503
    assert answer.json["title"] == "index unavailable"
    assert client.simulate_get("/api/v1/ann/count").status_code == 200


def test_answers_are_plain_json(client: Client) -> None:
    text = client.simulate_get("/api/v1/ann/3").text
    assert "NaN" not in text
    assert list(json.loads(text)) == ["results", "count"]


def test_logo_whose_vector_is_not_finite_is_an_error_and_keeps_no_other_from_its_answer(
    open_app: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = VECTORS[:4].copy()
    vectors[3, 5] = np.nan
    write_store(tmp_path / "nan" / "efficientnet-b0.hdf5", [1, 2, 3, 4], vectors)
    write_pair(tmp_path / "nan" / "efficientnet-b0", [1, 2], VECTORS[:2])
    client = Client(open_app(data_dir=tmp_path / "nan"))
    answer = client.simulate_get("/api/v1/ann/4")
    assert (answer.status_code, answer.json["title"]) == (500, "internal error")
    assert "logo 4" in answer.json["description"]
    batch = client.simulate_get("/api/v1/ann/batch?logo_ids=3,4,1&count=1").json
    assert list(batch["results"]) == ["3", "1"]
    assert "left out of a batch" in caplog.text


def test_json_nested_too_deeply_is_400(client: Client) -> None:
    for path in ("/api/v1/ann/add", "/api/v1/ann/from_embedding"):
        body = b'{"x":' + b"[" * 600 + b"]" * 600 + b"}"
        answer = client.simulate_post(path, body=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json["title"]) == (400, "invalid request")
