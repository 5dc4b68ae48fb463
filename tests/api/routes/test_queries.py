"""The routes that return neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.api.routes.neighbours import assert_neighbours, exact, from_embedding
from tests.original_files import write_pair, write_store
from tests.photo_server import photo

Client = falcon.testing.TestClient
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(shared_client: Client) -> Client:
    return shared_client


def test_indexed_logo_is_its_own_nearest_neighbour(client: Client) -> None:
    answer = client.simulate_get("/api/v1/ann/3?count=5")
    assert answer.status_code == 200
    assert answer.json["results"][0] == {"distance": 0.0, "logo_id": 3}
    assert_neighbours(answer.json, exact(0)[:5])


def test_logo_that_is_not_indexed_is_searched_by_its_vector_and_is_not_its_own_neighbour(client: Client) -> None:
    answer = client.simulate_get(f"/api/v1/ann/{STORED_ONLY[0]}?count=7")
    assert_neighbours(answer.json, exact(40)[:7])


def test_count_is_100_by_default_and_at_most_the_whole_index_is_returned(client: Client) -> None:
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


@pytest.mark.parametrize("path", ["/3?index=", "?index=", "/batch?logo_ids=3&index="])
def test_an_empty_index_name_is_unknown_on_the_routes_of_the_original(client: Client, path: str) -> None:
    answer = client.simulate_get(f"/api/v1/ann{path}")
    assert (answer.status_code, answer.json["title"]) == (400, "unknown index: ")


def test_an_empty_index_name_is_the_default_index_on_later_routes(client: Client) -> None:
    assert client.simulate_get("/api/v1/ann/status?index=").json["index"] == "efficientnet-b0"
    assert client.simulate_get("/api/v1/ann/map?index=").json["title"] == "no map"
    answer = client.simulate_post("/api/v1/ann/batch?index=", json={"logo_ids": [3], "count": 1})
    assert answer.json["count"] == 1
    image = client.simulate_post("/api/v1/ann/from_image?index=", body=photo(), headers={"Content-Type": "image/jpeg"})
    assert image.status_code == 200


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


def test_batch_returns_known_logos_in_request_order(client: Client) -> None:
    answer = client.simulate_get(
        "/api/v1/ann/batch", query_string=f"logo_ids={STORED_ONLY[0]},999999,3,3,-5,{2**70}&count=2"
    )
    assert list(answer.json["results"]) == [str(STORED_ONLY[0]), "3"]
    assert answer.json["count"] == 2
    single = client.simulate_get(f"/api/v1/ann/{STORED_ONLY[0]}?count=2").json["results"]
    assert answer.json["results"][str(STORED_ONLY[0])] == single


@pytest.mark.parametrize("ids", ["3,1001", "3%2C1001", "3&logo_ids=1001", "003,1001"])
def test_batch_accepts_ids_in_every_form_that_clients_send(client: Client, ids: str) -> None:
    answer = client.simulate_get("/api/v1/ann/batch", query_string=f"logo_ids={ids}&count=1")
    assert answer.json["count"] == 2


@pytest.mark.parametrize("query", ["", "logo_ids=", "logo_ids", "logo_ids=3,,4", "logo_ids=3,abc", "logo_ids=[3]"])
def test_batch_with_invalid_ids_is_400(client: Client, query: str) -> None:
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


def test_posted_batch_is_answered_as_the_one_in_the_address(client: Client) -> None:
    ids = [STORED_ONLY[0], 999999, 3, 3, -5, 2**63]
    asked = client.simulate_get("/api/v1/ann/batch", query_string=f"logo_ids={','.join(map(str, ids))}&count=2")
    posted = client.simulate_post("/api/v1/ann/batch", json={"logo_ids": [*ids[:2], 3.0, *ids[3:]], "count": 2.0})
    assert posted.status_code == 200
    assert posted.text == asked.text
    assert client.simulate_post("/api/v1/ann/batch", json={"logo_ids": [3]}).json["results"].keys() == {"3"}
    answer = client.simulate_post("/api/v1/ann/batch?index=nope", json={"logo_ids": [3]})
    assert (answer.status_code, answer.json["title"]) == (400, "unknown index: nope")


def test_posted_batch_takes_as_many_logos_as_the_setting_allows(open_app: Any) -> None:
    client = Client(open_app())
    many = [10_000_000 + place for place in range(1000)]
    assert client.simulate_post("/api/v1/ann/batch", json={"logo_ids": [3, *many[1:]]}).json["results"].keys() == {"3"}
    answer = client.simulate_post("/api/v1/ann/batch", json={"logo_ids": [3, *many]})
    assert (answer.status_code, answer.json["title"]) == (400, "too many logos")
    assert "names 1001 logos; 1000 are allowed" in answer.json["description"]


def test_posted_form_is_405_as_ever(client: Client) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.simulate_post("/api/v1/ann/batch", body="logo_ids=3&count=1", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, OPTIONS, POST")


def test_posted_id_that_may_have_lost_digits_is_400(client: Client) -> None:
    answer = client.simulate_post("/api/v1/ann/batch", body='{"logo_ids": [3, 9007199254740993.0]}', headers=JSON)
    assert (answer.status_code, answer.json["title"]) == (400, "invalid request")
    assert answer.json["description"].startswith("body.logo_ids[1]")


def test_a_logo_can_be_left_out_of_its_own_neighbours(client: Client) -> None:
    for count in (1, 5, 39, 500):
        answer = client.simulate_get(f"/api/v1/ann/3?count={count}&exclude_self=true")
        assert_neighbours(answer.json, exact(0)[1:][:count])
        answer = client.simulate_get(f"/api/v1/ann/{STORED_ONLY[0]}?count={count}&exclude_self=true")
        assert_neighbours(answer.json, exact(40)[:count])
    query = f"logo_ids={STORED_ONLY[0]},3&count=4&exclude_self=true"
    for answer in (
        client.simulate_get("/api/v1/ann/batch", query_string=query),
        client.simulate_post("/api/v1/ann/batch?exclude_self=true", json={"logo_ids": [STORED_ONLY[0], 3], "count": 4}),
    ):
        rows = answer.json["results"]
        assert rows["3"] == client.simulate_get("/api/v1/ann/3?count=4&exclude_self=true").json["results"]
        assert rows[str(STORED_ONLY[0])] == client.simulate_get(f"/api/v1/ann/{STORED_ONLY[0]}?count=4").json["results"]
    drawn = [client.simulate_get("/api/v1/ann?count=2&exclude_self=true").json for _ in range(20)]
    assert all(answer["count"] == 2 and answer["results"][0]["distance"] > 0 for answer in drawn)


def test_exclude_self_takes_true_or_false(client: Client) -> None:
    usual = client.simulate_get("/api/v1/ann/3?count=2").json
    assert client.simulate_get("/api/v1/ann/3?count=2&exclude_self=false").json == usual
    for value in ("", "1", "yes", "True"):
        for path in ("/3", "", "/batch"):
            answer = client.simulate_get(f"/api/v1/ann{path}", query_string=f"logo_ids=3&exclude_self={value}")
            assert answer.status_code == 400
            assert "exclude_self" in answer.json["description"]


def test_second_index_is_chosen_by_name(open_app: Any, data_dir: Path) -> None:
    write_pair(data_dir / "brands", INDEXED[:5], VECTORS[:5])
    client = Client(open_app())
    assert client.simulate_get("/api/v1/ann/3?index=brands").json["count"] == 5
    assert client.simulate_get("/api/v1/ann/3?index=efficientnet-b0").json["count"] == 40


def test_fresh_install_returns_no_neighbours_instead_of_an_error(open_app: Any, tmp_path: Path) -> None:
    client = Client(open_app(data_dir=tmp_path / "fresh" / "data"))
    assert client.simulate_get("/api/v1/ann/?count=1").json == {"results": [], "count": 0}
    assert client.simulate_get("/api/v1/ann/count").json == {"count": 0}
    assert client.simulate_get("/api/v1/ann/stored").json == {"stored": []}
    assert client.simulate_get("/api/v1/ann/3").status_code == 404
    assert client.simulate_get("/api/v1/ann?index=other").json["title"] == "unknown index: other"
    answer = from_embedding(client, {"embedding": [0.0] * 1280})
    assert (answer.status_code, answer.json) == (200, {"results": [], "count": 0})
    assert from_embedding(client, {"embedding": [0.0]}).json["title"] == "invalid dimension"


def test_searches_say_that_the_index_is_empty_until_there_is_one(open_app: Any, data_dir: Path) -> None:
    (data_dir / "efficientnet-b0").rename(data_dir / "later")
    app = open_app()
    client = Client(app)

    def searches() -> list[falcon.testing.Result]:
        vector = {"embedding": VECTORS[0].tolist()}
        return [
            client.simulate_get("/api/v1/ann/3"),
            client.simulate_get("/api/v1/ann"),
            client.simulate_get("/api/v1/ann/batch?logo_ids=3,4"),
            client.simulate_post("/api/v1/ann/batch", json={"logo_ids": [3, 4]}),
            from_embedding(client, vector),
            client.simulate_post("/api/v1/ann/from_image", body=photo(), headers={"Content-Type": "image/jpeg"}),
        ]

    def states() -> set[str]:
        status, ready = client.simulate_get("/api/v1/ann/status").json, client.simulate_get("/readyz").json
        return {status["index_state"], ready["index_state"]}

    for answer in searches():
        assert (answer.status_code, answer.headers["x-index-state"]) == (200, "empty")
        assert answer.headers["access-control-expose-headers"] == "X-Index-State"
    assert states() == {"empty"}
    (data_dir / "later").rename(data_dir / "efficientnet-b0")
    app.parts.catalog.refresh()
    for answer in searches():
        assert answer.status_code == 200
        assert "x-index-state" not in answer.headers
    assert states() == {"serving"}
    (data_dir / "efficientnet-b0" / "index.txt").write_text("broken")
    client = Client(open_app())
    assert states() == {"unavailable"}


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


def test_logo_whose_vector_is_not_finite_is_an_error_and_a_batch_leaves_it_out(
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
