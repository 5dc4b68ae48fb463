"""A collection is built from the store, and switched to, whatever happens to the build, the store, or the server."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import index.sample
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.snapshot import Snapshot
from embeddings.store.store import EmbeddingStore
from index.errors import BuildInProgressError, IndexBuildError
from index.files.build_lock import build_lock
from index.milvus import collections, retirement
from index.milvus.build import CollectionBuild
from index.milvus.collections import Record
from index.milvus.outbox import Outbox
from index.milvus.plan import CollectionPlan
from tests.embeddings.damage import damage_embedding
from tests.index.samples import some_logos
from tests.milvus.builds.building import IDS, ROWS, answering, assert_whole, changed, interrupted, loaded, names
from tests.milvus.samples import (
    DIM,
    STAMP,
    build,
    held,
    milvus_at,
    some_vectors,
    store_with,
    stored,
)
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("quick_builds")


def test_the_first_build_makes_a_collection_and_says_how_it_was_built(
    milvus: MilvusServer, store: EmbeddingStore, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.sample, "QUERIES", 50)
    client, done = milvus_at(milvus, rows_a_message=ROWS), list[int]()
    building_it = CollectionBuild(
        client, store, index_dir, CollectionPlan("HNSW", grace_seconds=0), progress=done.append
    )

    collection = building_it.run()

    assert_whole(client, store, index_dir, collection)
    record = collection.record
    assert (record.index, record.model, record.weights_digest) == ("logos-v1", STAMP.name, STAMP.digest)
    assert (record.kind, record.items, record.stored_rows) == ("HNSW", 300, 300)
    assert datetime.now(UTC) - datetime.fromisoformat(record.built_at) < timedelta(minutes=1)
    assert record.recall is not None
    assert (record.recall.search_k, record.recall.queries) == (100, 50)
    assert 0.95 <= record.recall.at_100 <= record.recall.at_10 <= 1
    assert loaded(client, collection.name) == "Loaded"
    assert done == [ROWS] * 15
    assert (building_it.before, building_it.damaged) == (None, 0)


def test_another_build_switches_to_it_and_keeps_the_last_one_but_not_in_memory(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = milvus_at(lite)
    first = build(client, store, index_dir)
    store.append(*some_vectors([9001]))
    second = build(client, store, index_dir)
    assert_whole(client, store, index_dir, second)
    assert names(client) == [first.name, second.name]
    assert [loaded(client, name) for name in names(client)] == ["NotLoad", "Loaded"]

    third = build(client, store, index_dir)

    assert_whole(client, store, index_dir, third)
    assert names(client) == [second.name, third.name]
    fourth = build(client, store, index_dir, keep=1)
    assert names(client) == [fourth.name]
    fifth, sixth = (build(client, store, index_dir, keep=3) for _ in range(2))
    assert names(client) == [fourth.name, fifth.name, sixth.name]


def test_services_have_time_to_see_the_switch_before_the_last_one_goes(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = milvus_at(lite)
    first = build(client, store, index_dir)
    meanwhile: list[tuple[float, bool, str]] = []

    def look(seconds: float) -> None:
        meanwhile.append((seconds, answering(client) != first.name, loaded(client, first.name)))

    monkeypatch.setattr(retirement, "time", SimpleNamespace(sleep=look))
    build(client, store, index_dir, grace_seconds=7.0)
    assert meanwhile == [(7.0, True, "Loaded")]
    assert loaded(client, first.name) == "NotLoad"


def test_who_sends_new_logos_waits_for_the_switch_and_leaves_nothing_behind(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, turn, waits = milvus_at(lite), Outbox.turn, threading.Event()

    def noted_turn(outbox: Outbox, *, wait: bool) -> AbstractContextManager[bool]:
        waits.set()
        return turn(outbox, wait=wait)

    with Outbox(index_dir).turn(wait=True):
        monkeypatch.setattr(Outbox, "turn", noted_turn)
        building = threading.Thread(target=build, args=(milvus_at(lite), store, index_dir))
        building.start()
        assert waits.wait(PATIENCE)
        assert answering(client) is None
        changed(store)  # after the build has sent what had changed by then
    building.join()
    name = answering(client)
    assert name is not None
    assert held(client, name) == stored(store)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("moment", [("insert", 5), ("flush", 1), ("search", 1)])
def test_what_changes_during_a_build_is_right_in_the_end(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, moment: tuple[str, int], compact: bool
) -> None:
    def change() -> None:
        changed(store)
        if compact:
            rewrite_store(store.path, capacity=305)

    client = interrupted(lite)
    client.happenings[moment] = change

    collection = build(client, store, index_dir)

    assert not client.happenings
    assert_whole(client, store, index_dir, collection)
    assert collection.record.stored_rows == 300


def test_what_changes_at_the_very_switch_is_left_to_the_feed(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = interrupted(lite)
    client.happenings["create_alias", 1] = lambda: store.append(*some_vectors([9001]))

    collection = build(client, store, index_dir)

    memory = Outbox(index_dir).read()
    assert memory is not None
    assert store.since(memory[1]).added.tolist() == [9001]
    assert set(held(client, collection.name)) == set(IDS)


def test_names_that_milvus_does_not_tell_apart_are_refused(
    lite: LiteServer, store: EmbeddingStore, tmp_path: Path
) -> None:
    client = milvus_at(lite)
    first = build(client, store, tmp_path / "a-b")
    with pytest.raises(IndexBuildError, match="the alias logos_a_b belongs to the index a-b"):
        build(client, store, tmp_path / "a_b")
    assert names(client) == [first.name]


def test_a_half_filled_collection_of_others_is_left_and_named(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = milvus_at(lite)
    theirs = ["logos_logos_v1_20260101T000000Z", "logos_logos_v1_20990101T000000Z"]
    for name in theirs:
        record = Record("logos-v1", STAMP.name, STAMP.digest, "FLAT")
        collections.create(client, name, dim=DIM, record=record, params={}, shards=1)
    build(client, store, index_dir)
    build(client, store, index_dir)
    assert set(theirs) < set(names(client))
    for name in theirs:
        assert f"{name} is half filled: drop it if no other machine is building it" in caplog.text


def test_another_build_of_the_index_is_not_met(lite: LiteServer, store: EmbeddingStore, index_dir: Path) -> None:
    index_dir.mkdir()
    doing = CollectionBuild(milvus_at(lite), store, index_dir, CollectionPlan("FLAT"))
    with build_lock(index_dir / ".generate.lock", wait=True), pytest.raises(BuildInProgressError):
        doing.run(wait=False)
    assert names(milvus_at(lite)) == []


def test_only_some_logos_are_taken_and_those_stored_meanwhile(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = interrupted(lite)
    client.happenings["insert", 3] = lambda: store.append(*some_vectors([9001]))
    collection = build(client, store, index_dir, only=np.array([*IDS[:50], 77_777]))
    assert set(held(client, collection.name)) == {*IDS[:50], 9001}
    assert (collection.record.items, collection.record.stored_rows) == (51, 300)


def test_equal_vectors_under_other_ids_are_no_misses(lite: LiteServer, tmp_path: Path, index_dir: Path) -> None:
    ids, vectors = some_logos(240, seed=4)
    logos = ids, vectors[np.arange(240) % 20]
    with store_with(tmp_path / "copies.hdf5", logos) as store:
        recall = build(milvus_at(lite), store, index_dir).record.recall
    assert recall is not None
    assert (recall.at_10, recall.at_100) == (1.0, 1.0)


def test_recall_of_some_logos_is_measured_without_reading_the_others(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All vectors of a store are more than a machine's memory."""
    monkeypatch.setattr(Snapshot, "sample", lambda snapshot, count, seed: pytest.fail(f"{count} vectors were read"))
    collection = build(milvus_at(lite), store, index_dir, only=np.array([*IDS[:50], 77_777]))
    assert collection.record.recall is not None


def test_vectors_without_distances_are_left_out(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    store.append(np.arange(9001, 9031), np.full((30, DIM), 1e30, np.float32))  # a message and a half
    collection = build(client, store, index_dir)
    assert set(held(client, collection.name)) == set(IDS)
    assert collection.record.items == 300
    assert "30 vectors are left out" in caplog.text


def test_damaged_rows_are_left_out_and_counted(lite: LiteServer, store: EmbeddingStore, index_dir: Path) -> None:
    """Those of a whole message, the last one, among them."""
    client = milvus_at(lite, rows_a_message=ROWS)
    store.append(*some_vectors([9001, 9002]))
    for row in (3, 300, 301):
        damage_embedding(store.path, row)
    doing = CollectionBuild(client, store, index_dir, CollectionPlan("FLAT", grace_seconds=0))
    collection = doing.run()
    assert doing.damaged == 3
    assert set(held(client, collection.name)) == {*IDS} - {IDS[3]}


@pytest.mark.parametrize("only", [None, np.array([77_777])])
def test_nothing_to_index_is_said(lite: LiteServer, store: EmbeddingStore, index_dir: Path, only: Any) -> None:
    if only is None:
        store.delete(IDS)
        store.append([9001], np.full((1, DIM), 1e30, np.float32))
    with pytest.raises(IndexBuildError, match="nothing to index"):
        build(milvus_at(lite), store, index_dir, only=only)
    assert answering(milvus_at(lite)) is None
