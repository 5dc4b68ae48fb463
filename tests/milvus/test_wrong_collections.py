"""Collections that cannot be answered from: what is said of each, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import falcon.testing
import numpy as np
import pytest
from pymilvus import MilvusClient

from api.app import AnnApp
from index.milvus.collections import Record
from index.milvus.outbox import Outbox
from tests.milvus import indexed
from tests.milvus.indexed import ALIAS, INDEXED, LOGO_IDS, VECTORS, A
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.waiting import wait_until

Client = falcon.testing.TestClient
Serve = Callable[..., Client]
OpenApp = Callable[..., AnnApp]
LATER = "20261130T030000Z"


def found(client: Client, query: str = "") -> set[int]:
    answer = client.simulate_get(f"{A}/{INDEXED[0]}?count=100{query}")
    return {row["logo_id"] for row in answer.json["results"]} if answer.status_code == 200 else set()


def assert_refused(client: Client, why: str) -> None:
    answer = client.simulate_get(f"{A}/{INDEXED[0]}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert (answer.json["title"], why in answer.json["description"]) == ("index unavailable", True), answer.text
    ready = client.simulate_get("/readyz")
    assert ready.status_code == 503
    assert why in ready.json["checks"]["index"]["detail"]
    assert why in client.simulate_get(f"{A}/status").json["error"]
    assert client.simulate_get("/api/v1/health").status_code == 500
    assert client.simulate_get(f"{A}/count").json["count"] == len(LOGO_IDS)


def is_refused(client: Client) -> bool:
    return client.simulate_get("/readyz").status_code == 503


@pytest.fixture
def milvus_client(lite: LiteServer) -> MilvusClient:
    return lite.client()


def half_filled(record: Record) -> Record:
    return replace(record, items=0, built_at="")


def of_other_weights(record: Record) -> Record:
    return replace(record, model="efficientnet-b0", weights_digest="0" * 64)


def grown_from_more(record: Record) -> Record:
    return replace(record, items=100)


def not_ours(record: Record) -> None:
    return None


@pytest.mark.parametrize(
    ("change", "width", "why"),
    [
        (half_filled, 1280, "is half filled: its build was not completed"),
        (of_other_weights, 1280, "holds vectors of other weights than the store"),
        (grown_from_more, 1280, "holds 40 logos, but was built with 100"),
        (not_ours, 1280, "was not made by `generate-index`"),
        (lambda record: record, 64, "holds vectors of 64 values, the store of 1280"),
    ],
    ids=["half filled", "other weights", "lost some", "no record", "other dimension"],
)
def test_it_is_not_served_and_the_reason_is_said_until_the_alias_stands_for_a_whole_one(
    lite: LiteServer,
    open_app: OpenApp,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Record], Record | None],
    width: int,
    why: str,
) -> None:
    wrong = indexed.index(lite, vectors=np.ascontiguousarray(VECTORS[:, :width]), change=change)
    client = Client(open_app(lite, milvus_connect_seconds=5))
    assert_refused(client, why)
    said = len([row for row in caplog.records if row.name == "index.milvus.catalog" and why in row.getMessage()])
    for _ in range(3):
        client.app.parts.catalog.refresh()  # type: ignore[attr-defined]
    again = len([row for row in caplog.records if row.name == "index.milvus.catalog" and why in row.getMessage()])
    assert said == again == 1
    indexed.index(lite, time=LATER)
    wait_until(lambda: found(client) >= set(INDEXED))
    assert wrong != client.simulate_get(f"{A}/status").json["generation"] == LATER
    assert client.simulate_get("/readyz").status_code == 200


def test_another_index_that_is_wrong_harms_only_itself(lite: LiteServer, serve: Serve) -> None:
    indexed.index(lite, [5, 6], change=half_filled, name="other-model")
    client = serve(lite)
    assert found(client) == set(INDEXED)
    assert client.simulate_get("/readyz").status_code == 200
    assert client.simulate_get(f"{A}/5?index=other-model").status_code == 503
    assert client.simulate_get(f"{A}/status").json["indexes"] == [indexed.INDEX]


def test_an_alias_that_is_gone_is_no_empty_index(lite: LiteServer, serve: Serve, milvus_client: MilvusClient) -> None:
    client = serve(lite)
    milvus_client.drop_alias(ALIAS)
    wait_until(lambda: is_refused(client))
    assert_refused(client, f"the alias {ALIAS} is gone from Milvus: `generate-index` builds the index again")
    milvus_client.create_alias(f"{ALIAS}_20261129T030000Z", ALIAS)
    wait_until(lambda: found(client) == set(INDEXED))


def test_an_alias_that_is_gone_is_no_empty_index_where_nothing_can_be_remembered(
    lite: LiteServer, serve: Serve, milvus_client: MilvusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's data directory may be read-only."""
    monkeypatch.setattr(Outbox, "write", lambda *args: None)
    client = serve(lite)
    milvus_client.drop_alias(ALIAS)
    wait_until(lambda: is_refused(client))
    for _ in range(2):
        client.app.parts.catalog.refresh()  # type: ignore[attr-defined]
        assert_refused(client, f"the alias {ALIAS} is gone from Milvus")


def test_the_alias_of_an_index_of_nearly_the_same_name_is_no_empty_index(
    lite: LiteServer, open_app: OpenApp, caplog: pytest.LogCaptureFixture
) -> None:
    indexed.index(lite, change=lambda record: replace(record, index="efficientnet_b0"))
    client = Client(open_app(lite, milvus_connect_seconds=5))
    why = f"the alias {ALIAS} belongs to the index efficientnet_b0"
    assert_refused(client, why)
    client.app.parts.catalog.refresh()  # type: ignore[attr-defined]
    said = [row for row in caplog.records if row.name == "index.milvus.catalog" and why in row.getMessage()]
    assert len(said) == 1


def test_a_dropped_collection_is_no_empty_index(lite: LiteServer, serve: Serve, milvus_client: MilvusClient) -> None:
    client = serve(lite)
    milvus_client.drop_alias(ALIAS)
    milvus_client.drop_collection(f"{ALIAS}_20261129T030000Z")
    wait_until(lambda: is_refused(client))
    assert_refused(client, "`generate-index` builds the index again from the store")
    indexed.index(lite, time=LATER)
    wait_until(lambda: found(client) >= set(INDEXED))


def test_a_released_collection_is_loaded_again(milvus: MilvusServer, serve: Serve) -> None:
    client = serve(milvus, reload_seconds=60)
    milvus.client().release_collection(f"{ALIAS}_20261129T030000Z")
    answer = client.simulate_get(f"{A}/{INDEXED[0]}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.simulate_get(f"{A}/count").status_code == 200
    wait_until(lambda: client.app.parts.catalog.refresh() or found(client) == set(INDEXED))  # type: ignore[attr-defined]
    assert client.simulate_get("/readyz").status_code == 200
