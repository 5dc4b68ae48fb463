"""`/predict` and `/search`: votes of neighbours, and searches in the form of Robotoff."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from api.app import AnnApp
from index.votes import predict
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.original_files import write_store
from tests.photo_server import PhotoServer, photo

Client = falcon.testing.TestClient
A = "/api/v1/ann"
LABELLED = {logo_id: ("acme", "zeta", "acme")[place % 3] for place, logo_id in enumerate(INDEXED[:30])}


@pytest.fixture
def app(open_app: Callable[..., AnnApp]) -> AnnApp:
    app = open_app(max_batch_logos=4)
    app.parts.attributes.merge({logo_id: {"value": value} for logo_id, value in LABELLED.items()})
    app.parts.attributes.merge({logo_id: {"server_type": "off"} for logo_id in INDEXED[10:25]})
    return app


@pytest.fixture
def client(app: AnnApp) -> Client:
    return Client(app)


def neighbours(client: Client, logo_id: int, count: int, **query: Any) -> tuple[list[int], list[float]]:
    rows = client.simulate_get(f"{A}/{logo_id}", params={"count": 500, **query}).json["results"]
    others = [row for row in rows if row["logo_id"] != logo_id][:count]
    return [row["logo_id"] for row in others], [row["distance"] for row in others]


def outcome(near: tuple[list[int], list[float]], threshold: float = 0.0) -> dict[str, Any]:
    prediction = predict(*near, LABELLED, threshold=threshold)
    return {
        "value": prediction.value,
        "confidence": prediction.confidence,
        "shares": [{"value": value, "share": share} for value, share in prediction.shares.items()],
        "deciders": [
            {"logo_id": voter.logo_id, "distance": voter.distance, "weight": voter.weight}
            for voter in prediction.deciders
        ],
    }


@pytest.mark.parametrize("logo_id", [INDEXED[0], INDEXED[35], STORED_ONLY[0]])
def test_the_nearest_other_logos_vote(client: Client, logo_id: int) -> None:
    answer = client.simulate_get(f"{A}/predict/{logo_id}?attribute=value")
    assert (answer.status_code, answer.json) == (200, outcome(neighbours(client, logo_id, 10)))
    answer = client.simulate_get(f"{A}/predict/{logo_id}?attribute=value&k=3&threshold=0.9")
    assert answer.json == outcome(neighbours(client, logo_id, 3), threshold=0.9)
    assert answer.json["value"] is None or answer.json["confidence"] >= 0.9
    assert len(answer.json["deciders"]) <= 3


def test_only_logos_that_match_vote(client: Client) -> None:
    answer = client.simulate_get(f"{A}/predict/{INDEXED[0]}?attribute=value&where=server_type:off&k=5")
    assert answer.json == outcome(neighbours(client, INDEXED[0], 5, where="server_type:off"))
    assert answer.json["value"] is not None


def test_nobody_knows_an_attribute_that_no_logo_has(client: Client) -> None:
    answer = client.simulate_get(f"{A}/predict/{INDEXED[0]}?attribute=other&k=2").json
    assert (answer["value"], [share["value"] for share in answer["shares"]]) == (None, [None])
    assert len(answer["deciders"]) == 2


def test_several_logos_are_voted_on_at_once(client: Client) -> None:
    asked = [STORED_ONLY[0], INDEXED[0], 77, INDEXED[1]]
    answer = client.simulate_post(f"{A}/predict?attribute=value&k=4", json={"logo_ids": asked}).json
    assert answer == {
        "results": {
            str(logo_id): outcome(neighbours(client, logo_id, 4)) for logo_id in (asked[0], asked[1], asked[3])
        },
        "count": 3,
    }


def test_a_vector_is_voted_on(client: Client) -> None:
    body = {"embedding": VECTORS[3].tolist()}
    answer = client.simulate_post(f"{A}/predict?attribute=value&k=7", json=body).json
    assert answer["value"] == LABELLED[INDEXED[3]]  # a neighbour at distance 0 takes the vote
    assert (answer["confidence"], [decider["logo_id"] for decider in answer["deciders"]]) == (1.0, [INDEXED[3]])


@pytest.mark.parametrize(
    ("query", "box"), [("", [0, 0, 1, 1]), ("&bounding_box=0.1,0.1,0.6,0.6", [0.1, 0.1, 0.6, 0.6])]
)
def test_an_image_is_voted_on(client: Client, photos: PhotoServer, query: str, box: list[float]) -> None:
    body = {"image_url": photos.url("/3.jpg"), "logos": [{"id": 900, "bounding_box": box}]}
    assert client.simulate_post(f"{A}/add", json=body).json == {"added": 1}
    answer = client.simulate_post(
        f"{A}/predict?attribute=value&k=7{query}", body=photos.photos["/3.jpg"], content_type="image/jpeg"
    )
    assert (answer.status_code, answer.json) == (200, outcome(neighbours(client, 900, 7)))
    assert client.simulate_get(f"{A}/count").json == {"count": len(LOGO_IDS) + 1}


def test_an_image_to_vote_on_is_checked(client: Client) -> None:
    for query, title in (
        ("", "invalid image"),
        ("&bounding_box=1", "Invalid parameter"),
        ("&index=nope", "unknown index: nope"),
    ):
        answer = client.simulate_post(f"{A}/predict?attribute=value{query}", body=b"none", content_type="image/png")
        assert (answer.status_code, answer.json["title"]) == (400, title)


def test_an_image_may_be_larger_than_other_bodies(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(max_body_bytes=100))
    answer = client.simulate_post(f"{A}/predict?attribute=value", body=photo(), content_type="image/jpeg")
    assert answer.status_code == 200


def test_an_index_without_logos_says_that_it_is_empty(open_app: Callable[..., AnnApp], tmp_path: Path) -> None:
    data_dir = tmp_path / "new"
    data_dir.mkdir()
    write_store(data_dir / "efficientnet-b0.hdf5", LOGO_IDS, VECTORS)
    empty, built = Client(open_app(data_dir=data_dir)), Client(open_app())
    for path in (f"search/{LOGO_IDS[0]}", "search", f"predict/{LOGO_IDS[0]}?attribute=value"):
        assert empty.simulate_get(f"{A}/{path}").headers["X-Index-State"] == "empty"
        assert "X-Index-State" not in built.simulate_get(f"{A}/{path}").headers
    for body in ({"json": {"logo_ids": [3]}}, {"body": photo(), "content_type": "image/jpeg"}):
        answer = empty.simulate_post(f"{A}/predict?attribute=value", **body)
        assert answer.headers["X-Index-State"] == "empty"
        assert answer.headers["Access-Control-Expose-Headers"] == "X-Index-State"
        assert "X-Index-State" not in built.simulate_post(f"{A}/predict?attribute=value", **body).headers


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("", "Missing parameter"),
        ("attribute=Value", "Invalid parameter"),
        ("attribute=value&k=0", "Invalid parameter"),
        ("attribute=value&k=501", "Invalid parameter"),
        ("attribute=value&threshold=1.1", "Invalid parameter"),
        ("attribute=value&threshold=nan", "Invalid parameter"),
        ("attribute=value&index=nope", "unknown index: nope"),
        ("attribute=value&where=x", "invalid filter"),
    ],
)
def test_votes_that_cannot_be_held_are_a_400(client: Client, query: str, title: str) -> None:
    for answer in (
        client.simulate_get(f"{A}/predict/{INDEXED[0]}", query_string=query),
        client.simulate_post(f"{A}/predict", query_string=query, json={"logo_ids": [INDEXED[0]]}),
    ):
        assert (answer.status_code, answer.json["title"]) == (400, title)


@pytest.mark.parametrize(
    ("body", "title"),
    [
        ({}, "invalid request"),
        ({"embedding": [1.0] * 1280, "logo_ids": [3]}, "invalid request"),
        ({"logo_ids": []}, "invalid request"),
        ({"logo_ids": [1, 2, 3, 4, 5]}, "too many logos"),
        ({"embedding": [1.0, 2.0]}, "invalid dimension"),
        ({"embedding": [1e30] * 1280}, "invalid embedding"),
    ],
)
def test_bodies_of_votes_are_checked(client: Client, body: Any, title: str) -> None:
    answer = client.simulate_post(f"{A}/predict?attribute=value", json=body)
    assert (answer.status_code, answer.json["title"]) == (400, title)


def test_an_unknown_logo_is_a_404(client: Client) -> None:
    for path in ("predict/77?attribute=value", "search/77"):
        answer = client.simulate_get(f"{A}/{path}")
        assert (answer.status_code, answer.json["title"]) == (404, "unknown logo")


@pytest.mark.parametrize("logo_id", [INDEXED[0], STORED_ONLY[0]])
def test_searches_in_the_form_of_robotoff_leave_the_logo_itself_out(client: Client, logo_id: int) -> None:
    for query, count, where in (("", 25, {}), ("count=4&server_type=off", 4, {"where": "server_type:off"})):
        ids, distances = neighbours(client, logo_id, count, **where)
        answer = client.simulate_get(f"{A}/search/{logo_id}", query_string=query)
        rows = [{"logo_id": i, "distance": d} for i, d in zip(ids, distances, strict=True)]
        assert answer.json == {"results": rows, "count": count, "query_logo_id": logo_id}
        assert [*answer.json] == ["results", "count", "query_logo_id"]


def test_a_random_search_is_about_a_logo_that_matches(client: Client) -> None:
    answer = client.simulate_get(f"{A}/search?server_type=off&count=3").json
    assert answer["query_logo_id"] in INDEXED[10:25]
    assert answer == client.simulate_get(f"{A}/search/{answer['query_logo_id']}?server_type=off&count=3").json
    assert client.simulate_get(f"{A}/search").json["query_logo_id"] in LOGO_IDS
    nobody = {"results": [], "count": 0, "query_logo_id": None}
    assert client.simulate_get(f"{A}/search?server_type=obf").json == nobody


def test_the_project_is_one_condition_among_others(client: Client) -> None:
    ids = [
        row["logo_id"]
        for row in client.simulate_get(f"{A}/search/{INDEXED[0]}?server_type=off&where=value:acme").json["results"]
    ]
    assert sorted(ids) == sorted(logo_id for logo_id in INDEXED[10:25] if LABELLED[logo_id] == "acme")
    for query in ("server_type=", "server_type=off&where=server_type:obf"):
        answer = client.simulate_get(f"{A}/search/{INDEXED[0]}", query_string=query)
        assert (answer.status_code, answer.json["title"]) == (400, "invalid filter")
