"""`where` and `max_distance` on every search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import falcon.testing
import numpy as np
import pytest

from api.app import AnnApp
from api.journeys.logo_attributes import LogoAttributes
from embeddings.store.store import EmbeddingStore
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS

Client = falcon.testing.TestClient
A = "/api/v1/ann"
RED = INDEXED[::3]


@pytest.fixture
def client(open_app: Callable[..., AnnApp]) -> Client:
    app = open_app()
    app.parts.attributes.merge({logo_id: {"colour": "red"} for logo_id in [*RED, *STORED_ONLY[:4]]})
    app.parts.attributes.merge({RED[1]: {"value": "salt, pepper: a\\b"}, RED[2]: {"size": "10"}})
    return Client(app)


def ids(answer: falcon.testing.Result) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [row["logo_id"] for row in answer.json["results"]]


def nearest(vector: Any, among: list[int]) -> list[int]:
    distances = {logo_id: float(np.linalg.norm(VECTORS[LOGO_IDS.index(logo_id)] - vector)) for logo_id in among}
    return sorted(among, key=lambda logo_id: distances[logo_id])


def test_only_logos_that_match_are_neighbours(client: Client) -> None:
    assert ids(client.simulate_get(f"{A}/{RED[0]}?where=colour:red&count=5")) == nearest(VECTORS[0], RED)[:5]
    other, vector = INDEXED[1], VECTORS[1]
    assert ids(client.simulate_get(f"{A}/{other}?where=colour:red")) == nearest(vector, RED)
    assert ids(client.simulate_get(f"{A}/{STORED_ONLY[0]}?where=colour:red")) == nearest(VECTORS[40], RED)
    assert ids(client.simulate_get(f"{A}/{other}?where=colour:blue")) == []
    for unknown in (77, 2**70):
        assert client.simulate_get(f"{A}/{unknown}?where=colour:red").status_code == 404


def test_every_search_takes_a_filter(client: Client) -> None:
    random = ids(client.simulate_get(f"{A}?where=colour:red"))
    assert (random[0] in RED, sorted(random)) == (True, sorted(RED))
    batch = client.simulate_get(f"{A}/batch?logo_ids={RED[0]},{INDEXED[1]},77,{2**70}&where=colour:red&count=2").json
    assert {key: [row["logo_id"] for row in rows] for key, rows in batch["results"].items()} == {
        str(logo_id): nearest(VECTORS[LOGO_IDS.index(logo_id)], RED)[:2] for logo_id in (RED[0], INDEXED[1])
    }
    body = {"embedding": VECTORS[5].tolist(), "count": 3}
    assert ids(client.simulate_post(f"{A}/from_embedding?where=colour:red", json=body)) == nearest(VECTORS[5], RED)[:3]


def test_all_conditions_must_hold_whatever_a_value_holds(client: Client) -> None:
    value = "value:salt\\, pepper: a\\\\b"
    for where in (quote(f"colour:red,{value}"), quote(value), f"colour:red&where={quote(value)}"):
        assert ids(client.simulate_get(f"{A}/{RED[0]}", query_string=f"where={where}")) == [RED[1]]
    assert ids(client.simulate_get(f"{A}/{RED[0]}?where=colour:red,size:10")) == [RED[2]]
    assert ids(client.simulate_get(f"{A}/{RED[0]}?where=colour:red,size:11")) == []


@pytest.mark.parametrize("where", ["", "red", "Colour:red", "colour:", "colour:red,colour:blue", "a:\\b"])
def test_a_filter_that_cannot_be_parsed_is_a_400(client: Client, where: str) -> None:
    for path in (f"{A}/{RED[0]}", A, f"{A}/batch"):
        answer = client.simulate_get(path, query_string=f"logo_ids=3&where={quote(where)}")
        assert (answer.status_code, answer.json["title"]) == (400, "invalid filter")


def test_neighbours_end_at_max_distance(client: Client) -> None:
    everything = client.simulate_get(f"{A}/{INDEXED[0]}").json["results"]
    far = everything[6]["distance"]
    answer = client.simulate_get(f"{A}/{INDEXED[0]}?max_distance={far!r}")
    assert answer.json == {"results": everything[:7], "count": 7}
    assert ids(client.simulate_get(f"{A}/{INDEXED[0]}?max_distance=0")) == [INDEXED[0]]
    body = {"embedding": VECTORS[5].tolist(), "count": 9}
    assert ids(client.simulate_post(f"{A}/from_embedding?max_distance=0.001", json=body)) == [INDEXED[5]]


@pytest.mark.parametrize("max_distance", ["-1", "x", "nan", "inf", ""])
def test_a_max_distance_that_is_none_is_a_400(client: Client, max_distance: str) -> None:
    answer = client.simulate_get(f"{A}/{INDEXED[0]}", query_string=f"max_distance={max_distance}")
    assert (answer.status_code, answer.json["title"]) == (400, "Invalid parameter")


def test_changed_attributes_and_deleted_logos_show_at_once(open_app: Callable[..., AnnApp], client: Client) -> None:
    other = open_app().parts  # another process
    asked = f"{A}/{RED[0]}?where=colour:red"
    before = ids(client.simulate_get(asked))
    other.attributes.merge({RED[3]: {"colour": None}, INDEXED[1]: {"colour": "red"}})
    expected = [logo_id for logo_id in [*RED, INDEXED[1]] if logo_id != RED[3]]
    assert ids(client.simulate_get(asked)) == nearest(VECTORS[0], expected)
    with EmbeddingStore(other.store.path) as store:
        store.delete([RED[5]])
    expected.remove(RED[5])
    assert ids(client.simulate_get(asked)) == nearest(VECTORS[0], expected) != before


def test_replaced_vectors_are_those_that_are_scanned(client: Client, open_app: Callable[..., AnnApp]) -> None:
    asked = f"{A}/{INDEXED[1]}?where=colour:red&count=1"
    client.simulate_get(asked)
    furthest = nearest(VECTORS[1], RED)[-1]
    open_app().parts.store.append([furthest], VECTORS[1:2], replace=True)
    assert ids(client.simulate_get(asked)) == [furthest]


def test_unindexed_logos_match_where_they_are_searched(open_app: Callable[..., AnnApp], client: Client) -> None:
    fresh = Client(open_app(search_unindexed=True))
    among = [*RED, *STORED_ONLY[:4]]
    assert ids(fresh.simulate_get(f"{A}/{INDEXED[1]}?where=colour:red")) == nearest(VECTORS[1], among)


def test_a_logo_stored_between_the_look_and_the_scan_is_missing_once_at_most(
    client: Client, open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, new = open_app(search_unindexed=True), 9_000_001
    matching = LogoAttributes.matching

    def store_one_first(attributes: LogoAttributes, conditions: Any) -> Any:
        monkeypatch.undo()
        fresh.parts.store.append([new], VECTORS[1:2])
        attributes.merge({new: {"colour": "red"}})
        return matching(attributes, conditions)

    monkeypatch.setattr(LogoAttributes, "matching", store_one_first)
    asked = f"{A}/{INDEXED[1]}?where=colour:red&count=1"
    Client(fresh).simulate_get(asked)
    assert ids(Client(fresh).simulate_get(asked)) == [new]


def test_a_filter_may_name_what_may_be_set(open_app: Callable[..., AnnApp]) -> None:
    value = "x" * 300
    client = Client(open_app(max_attribute_length=300))
    logos = {"logos": [{"id": RED[0], "attributes": {"value": value}}]}
    assert client.simulate_put(f"{A}/attributes", json=logos).json["updated"] == 1
    assert ids(client.simulate_get(f"{A}/{INDEXED[1]}?where=value:{value}")) == [RED[0]]
    assert client.simulate_get(f"{A}/{INDEXED[1]}?where=value:{value}x").status_code == 400
