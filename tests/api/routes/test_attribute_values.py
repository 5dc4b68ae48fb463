"""The routes of values: keys, values with counts, the logos of a value, and candidates for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest

from api.app import AnnApp
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.original_files import write_store

Client = falcon.testing.TestClient
A = "/api/v1/ann/attributes"
ACME, BOLT, LATE = INDEXED[:6], INDEXED[6:8], STORED_ONLY[0]


@pytest.fixture
def named(client: Client) -> Client:
    values = {**dict.fromkeys(ACME, "Acme"), **dict.fromkeys(BOLT, "Bolt, Ltd"), LATE: "acorn"}
    logos: list[Any] = [{"id": logo_id, "attributes": {"value": value}} for logo_id, value in values.items()]
    logos.append({"id": INDEXED[9], "attributes": {"type": "brand"}})
    assert client.simulate_put(A, json={"logos": logos}).status_code == 200
    return client


def get(client: Client, path: str, **parameters: Any) -> Any:
    answer = client.simulate_get(A + path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_without_attributes_there_are_no_keys_no_values_and_no_candidates(client: Client) -> None:
    assert get(client, "/keys") == {"keys": [], "count": 0}
    assert get(client, "/values", attribute="value") == {"values": [], "count": 0}
    assert get(client, "/logos", attribute="value", value="Acme") == {"logo_ids": [], "count": 0, "total": 0}
    assert get(client, "/candidates", attribute="value", value="Acme") == {"results": [], "count": 0}


def test_keys_are_counted(named: Client) -> None:
    keys = [{"key": "type", "logos": 1, "values": 1}, {"key": "value", "logos": 9, "values": 3}]
    assert get(named, "/keys") == {"keys": keys, "count": 2}


def test_values_are_completed_in_any_case_the_most_frequent_first(named: Client) -> None:
    assert get(named, "/values", attribute="value")["values"] == [
        {"value": "Acme", "logos": 6},
        {"value": "Bolt, Ltd", "logos": 2},
        {"value": "acorn", "logos": 1},
    ]
    assert get(named, "/values", attribute="value", prefix="aC")["count"] == 2
    assert get(named, "/values", attribute="value", prefix="aco")["values"] == [{"value": "acorn", "logos": 1}]
    assert get(named, "/values", attribute="value", count=1)["values"] == [{"value": "Acme", "logos": 6}]
    assert get(named, "/values", attribute="none")["values"] == []


def test_logos_of_a_value_are_paged(named: Client) -> None:
    all_of_them = sorted(ACME)
    first = get(named, "/logos", attribute="value", value="Acme", count=4)
    assert first == {"logo_ids": all_of_them[:4], "count": 4, "total": 6}
    rest = get(named, "/logos", attribute="value", value="Acme", after=first["logo_ids"][-1])
    assert rest == {"logo_ids": all_of_them[4:], "count": 2, "total": 6}
    assert get(named, "/logos", attribute="value", value="Bolt, Ltd")["logo_ids"] == sorted(BOLT)
    assert get(named, "/logos", attribute="value", value="Acme", after=10**30)["logo_ids"] == []


def test_candidates_are_the_nearest_logos_without_a_value(named: Client) -> None:
    found = get(named, "/candidates", attribute="value", value="Acme", count=5)
    rows = dict(zip([*INDEXED, *STORED_ONLY], np.asarray(VECTORS, np.float64), strict=True))
    free = [logo_id for logo_id in INDEXED if logo_id not in {*ACME, *BOLT}]
    expected = sorted(
        (min((float(np.linalg.norm(rows[logo_id] - rows[one])), one) for one in ACME), logo_id) for logo_id in free
    )[:5]
    assert [row["logo_id"] for row in found["results"]] == [logo_id for _, logo_id in expected]
    assert [row["nearest"] for row in found["results"]] == [one for (_, one), _ in expected]
    assert [row["distance"] for row in found["results"]] == pytest.approx([far for (far, _), _ in expected], rel=1e-4)
    everyone = get(named, "/candidates", attribute="value", value="Acme", count=500)
    assert {row["logo_id"] for row in everyone["results"]} == set(free)


def test_an_index_without_logos_says_that_it_is_empty(
    client: Client, open_app: Callable[..., AnnApp], tmp_path: Path
) -> None:
    (data_dir := tmp_path / "new").mkdir()
    write_store(data_dir / "efficientnet-b0.hdf5", LOGO_IDS, VECTORS)
    empty = Client(open_app(data_dir=data_dir))
    path = f"{A}/candidates?attribute=value&value=Acme"
    for answer in (empty.simulate_get(path), empty.simulate_head(path)):
        assert (answer.status_code, answer.headers["X-Index-State"]) == (200, "empty")
    assert "X-Index-State" not in client.simulate_get(path).headers


@pytest.mark.parametrize(
    "query",
    [
        "/values",
        "/values?attribute=Value",
        "/values?attribute=value&count=0",
        "/logos?attribute=value",
        "/logos?attribute=value&value=a&after=-1",
        "/logos?attribute=value&value=a&after=x",
        "/candidates?attribute=value",
        "/keys?index=nope",
    ],
)
def test_wrong_parameters_are_refused(client: Client, query: str) -> None:
    assert client.simulate_get(A + query).status_code == 400
