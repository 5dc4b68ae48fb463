"""Names, records and collections."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from index.errors import EngineError, IndexDamagedError
from index.milvus import collections
from index.milvus.collections import PROPERTY, Collection, Record, alias_of, new_name
from index.status import Recall
from tests.index.samples import some_logos
from tests.milvus.samples import DIM, milvus_at, new_collection
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.waiting import PATIENCE, wait_until

RECORD = Record("efficientnet-b0", "efficientnet-b0", "d" * 64, "FLAT")
WHOLE = replace(
    RECORD, items=300, stored_rows=310, built_at="2026-11-29T03:00:00+00:00", recall=Recall(196, 0.999, 0.98, 200)
)


@pytest.mark.parametrize(
    ("index", "alias"),
    [
        ("efficientnet-b0", "logos_efficientnet_b0"),
        ("a_b", "logos_a_b"),
        ("a-b", "logos_a_b"),
        ("v1.2 of März", "logos_v1_2_of_M_rz"),
        ("7", "logos_7"),
    ],
)
def test_an_alias_holds_what_names_of_milvus_may_hold(index: str, alias: str) -> None:
    assert alias_of(index) == alias


def test_the_name_of_a_collection_says_when_it_was_begun() -> None:
    name = new_name("efficientnet-b0")
    collection = Collection(name, DIM, RECORD)
    assert name == f"logos_efficientnet_b0_{collection.stamp}"
    begun = time.mktime(time.strptime(collection.stamp + " UTC", "%Y%m%dT%H%M%SZ %Z")) - time.timezone
    assert abs(time.time() - begun) < 60
    assert Collection("logos_by_hand", DIM, RECORD).stamp == "logos_by_hand"


@pytest.mark.parametrize("record", [RECORD, WHOLE])
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert Record.parse(record.format()) == record


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: "",
        lambda fields: "null",
        lambda fields: "[]",
        lambda fields: "not JSON",
        lambda fields: {},
        lambda fields: {**fields, "format": 2},
        lambda fields: {**fields, "more": 1},
        lambda fields: {key: value for key, value in fields.items() if key != "index"},
        lambda fields: {key: value for key, value in fields.items() if key != "recall"},
        lambda fields: {**fields, "recall": {"at_10": 1}},
        lambda fields: {**fields, "recall": 0.99},
        lambda fields: {**fields, "built_at": "yesterday"},
        lambda fields: {**fields, "built_at": 5},
    ],
)
def test_what_is_no_record_is_refused(spoil: Callable[[dict[str, Any]], Any]) -> None:
    spoilt = spoil(json.loads(WHOLE.format()))
    with pytest.raises(ValueError):
        Record.parse(spoilt if isinstance(spoilt, str) else json.dumps(spoilt))


def test_a_collection_keeps_its_record_when_the_server_is_started_again(milvus: MilvusServer) -> None:
    """Milvus 2.3.5 forgets the last change of a property, so that a whole collection looked half filled."""
    client = milvus_at(milvus)
    collections.create(client, "logos_a_20261129T030000Z", dim=DIM, record=RECORD, params={}, shards=1)
    collections.write_record(client, "logos_a_20261129T030000Z", WHOLE)
    client.call("create_alias", "logos_a_20261129T030000Z", "logos_a", seconds=PATIENCE)

    milvus.kill()
    milvus.start()

    def described() -> bool:
        try:
            return collections.describe(again, "logos_a_20261129T030000Z") is not None
        except EngineError:  # it is just starting
            return False

    again = milvus_at(milvus)
    wait_until(described)
    assert collections.describe(again, "logos_a_20261129T030000Z") == Collection("logos_a_20261129T030000Z", DIM, WHOLE)
    assert collections.aliased(again, "logos_a") == "logos_a_20261129T030000Z"


def test_collections_and_aliases_are_told_apart(milvus: MilvusServer) -> None:
    client = milvus_at(milvus)
    ours = ["logos_a_b_20261129T030000Z", "logos_a_b_20261128T030000Z"]
    for name in [*ours, "logos_a_b", "logos_a_b_c_20261129T030000Z", "logos_a_20261129T030000Z", "others"]:
        collections.create(client, name, dim=DIM, record=RECORD, params={}, shards=1)
    for name, alias in (("others", "foreign"), (ours[0], "logos_x"), (ours[1], "logos_w")):
        client.call("create_alias", name, alias, seconds=PATIENCE)

    assert collections.collections_of(client, "a-b") == sorted(ours)
    assert collections.collections_of(client, "nobody") == []
    assert collections.aliases(client) == ["logos_w", "logos_x"]
    assert collections.aliased(client, "logos_x") == ours[0]
    assert collections.aliased(client, "logos_none") is None
    assert collections.describe(client, "logos_none") is None


def test_a_collection_of_others_is_none_of_ours(milvus: MilvusServer) -> None:
    client = milvus_at(milvus)
    theirs = milvus.client()
    theirs.create_collection("logos_theirs", dimension=DIM)
    with pytest.raises(IndexDamagedError, match="logos_theirs was not made by `generate-index`"):
        collections.describe(client, "logos_theirs")
    collections.create(client, "logos_spoilt", dim=DIM, record=RECORD, params={}, shards=1)
    client.call("alter_collection_properties", "logos_spoilt", properties={PROPERTY: "{"}, seconds=PATIENCE)
    with pytest.raises(IndexDamagedError, match="logos_spoilt was not made"):
        collections.describe(client, "logos_spoilt")


def test_logos_are_counted_without_those_that_were_deleted(lite: LiteServer) -> None:
    logos, client = some_logos(50), milvus_at(lite)
    name = new_collection(client, logos).name
    assert collections.count(client, name, seconds=PATIENCE) == 50
    client.call("delete", name, ids=logos[0][:7].tolist(), seconds=PATIENCE)
    assert collections.count(client, name, seconds=PATIENCE, strong=True) == 43
