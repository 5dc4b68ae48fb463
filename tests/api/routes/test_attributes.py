"""`PUT` and `GET /api/v1/ann/attributes`, and what becomes of the attributes of deleted logos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from api.app import AnnApp
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY

Client = falcon.testing.TestClient
A = "/api/v1/ann"
ONE, TWO, THREE = INDEXED[2], INDEXED[3], STORED_ONLY[0]


def put(client: Client, changes: dict[int, dict[str, Any]]) -> falcon.testing.Result:
    logos = [{"id": logo_id, "attributes": attributes} for logo_id, attributes in changes.items()]
    return client.simulate_put(f"{A}/attributes", json={"logos": logos})


def get(client: Client, *logo_ids: int) -> Any:
    return client.simulate_get(f"{A}/attributes?logo_ids={','.join(map(str, logo_ids))}").json


def test_attributes_are_merged_and_null_removes_one(client: Client) -> None:
    answer = put(client, {ONE: {"type": "brand", "value": "en:organic"}, THREE: {"type": "label"}})
    assert (answer.status_code, answer.json) == (200, {"updated": 2, "unknown": []})
    assert put(client, {ONE: {"value": None, "server_type": "off"}}).status_code == 200
    assert get(client, ONE, TWO, THREE, 10**30) == {
        "attributes": {str(ONE): {"server_type": "off", "type": "brand"}, str(THREE): {"type": "label"}},
        "count": 2,
    }


def test_other_processes_see_attributes_and_a_restart_keeps_them(open_app: Callable[..., AnnApp]) -> None:
    first, second = Client(open_app()), Client(open_app())
    assert get(second, ONE) == {"attributes": {}, "count": 0}
    put(first, {ONE: {"value": "a"}})
    expected = {"attributes": {str(ONE): {"value": "a"}}, "count": 1}
    assert get(second, ONE) == expected
    assert get(Client(open_app()), ONE) == expected


def test_a_service_without_attributes_makes_no_file_of_them(client: Client, data_dir: Path) -> None:
    get(client, ONE)
    put(client, {77: {"value": "a"}})
    put(client, {ONE: {}})
    assert not [*data_dir.glob("*.attributes*")]
    put(client, {ONE: {"value": "a"}})
    assert [*data_dir.glob("*.attributes")]


def test_logos_that_are_not_stored_are_named_and_left_out(client: Client) -> None:
    answer = put(client, {77: {"value": "a"}, ONE: {"value": "a"}})
    assert (answer.status_code, answer.json) == (200, {"updated": 1, "unknown": [77]})
    assert get(client, 77, ONE)["count"] == 1


def test_of_a_logo_named_twice_the_later_values_hold(client: Client) -> None:
    logos = [{"id": ONE, "attributes": {"a": "1", "b": "1"}}, {"id": float(ONE), "attributes": {"a": "2"}}]
    assert client.simulate_put(f"{A}/attributes", json={"logos": logos}).json["updated"] == 1
    assert get(client, ONE)["attributes"] == {str(ONE): {"a": "2", "b": "1"}}


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"Value": "a"}, "'Value' is not a key"),
        ({"value": ""}, "the value of value has 0 characters"),
        ({"value": "x" * 257}, "the value of value has 257 characters"),
        ({"value": "a\nb"}, "a control character or line break"),
        ({f"k{number}": "a" for number in range(17)}, "it would have 17; a logo can have 16"),
    ],
)
def test_attributes_that_cannot_be_stored_are_a_400_that_names_the_logo(
    client: Client, attributes: dict[str, str], says: str
) -> None:
    answer = put(client, {TWO: {"value": "a"}, ONE: attributes})
    assert (answer.status_code, answer.json["title"]) == (400, "invalid attribute")
    assert f"attributes of logo {ONE}: " in answer.json["description"]
    assert says in answer.json["description"]
    assert get(client, ONE, TWO)["count"] == 0


@pytest.mark.parametrize(
    "body",
    [[], {}, {"logos": {}}]
    + [{"logos": [logo]} for logo in ({"id": 3}, {"id": 0, "attributes": {}}, {"id": 3, "attributes": {"value": 1}})],
)
def test_bodies_are_held_to_the_schema(client: Client, body: Any) -> None:
    answer = client.simulate_put(f"{A}/attributes", json=body)
    assert (answer.status_code, answer.json["title"]) == (400, "invalid request")


def test_limits_are_settings(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(max_batch_logos=2, max_attributes=1, max_attribute_length=3))
    assert put(client, {ONE: {"value": "abc"}}).status_code == 200
    assert "257" not in put(client, {ONE: {"value": "abcd"}}).json["description"]
    assert "a logo can have 1. Remove some." in put(client, {ONE: {"other": "a"}}).json["description"]
    assert put(client, {ONE: {}, TWO: {}, THREE: {}}).json["title"] == "too many logos"


def test_damaged_attributes_are_a_500_and_spoil_no_search(client: Client, data_dir: Path) -> None:
    (data_dir / "efficientnet-b0.hdf5.attributes").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    answer = client.simulate_get(f"{A}/attributes?logo_ids={ONE}")
    assert (answer.status_code, answer.json["title"]) == (500, "attributes damaged")
    assert str(data_dir) not in answer.text
    assert client.simulate_get(f"{A}/{ONE}").status_code == 200


def test_a_deleted_logo_loses_its_attributes(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(allow_delete=True))
    put(client, {ONE: {"value": "a"}, TWO: {"value": "a"}, THREE: {"value": "b"}})
    assert client.simulate_delete(f"{A}/{ONE}").json == {"deleted": 1}
    assert client.simulate_post(f"{A}/delete", json={"logo_ids": [THREE]}).json == {"deleted": 1}
    assert get(client, ONE, TWO, THREE)["attributes"] == {str(TWO): {"value": "a"}}


def test_many_logos_are_deleted_at_once(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(allow_delete=True))
    gone = [INDEXED[0], STORED_ONLY[3], 77, INDEXED[0], 10**30, -1]
    answer = client.simulate_post(f"{A}/delete", json={"logo_ids": gone})
    assert (answer.status_code, answer.json) == (200, {"deleted": 2})
    left = [logo_id for logo_id in LOGO_IDS if logo_id not in gone]
    assert client.simulate_get(f"{A}/stored").json["stored"] == left
    assert client.simulate_post(f"{A}/delete", json={"logo_ids": gone}).json == {"deleted": 0}
    assert client.simulate_post(f"{A}/delete", json={"logo_ids": []}).json == {"deleted": 0}


def test_deleting_in_bulk_is_held_to_limits_and_not_allowed_unless_that_is_set(open_app: Callable[..., AnnApp]) -> None:
    assert Client(open_app()).simulate_post(f"{A}/delete", json={"logo_ids": [ONE]}).status_code == 404
    client = Client(open_app(allow_delete=True, max_batch_logos=2))
    for body in ({}, {"logo_ids": 3}, {"logo_ids": ["3"]}, {"logo_ids": [1, 2, 3]}, {"logo_ids": [2.0**60]}):
        assert client.simulate_post(f"{A}/delete", json=body).status_code == 400
    assert client.simulate_get(f"{A}/count").json == {"count": 60}
