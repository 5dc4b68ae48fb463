"""A collection is built from the store, and switched to, whatever happens to the build, the store, or the server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus.client.types import LoadState

import index.sample
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.snapshot import Snapshot
from embeddings.store.store import EmbeddingStore
from index.errors import BuildInProgressError, EngineError, EngineUnreachableError, IndexBuildError
from index.files.build_lock import build_lock
from index.milvus import build as building
from index.milvus import collections, patience
from index.milvus.build import STATE_NAME, CollectionBuild, CollectionPlan
from index.milvus.collections import Collection, Record
from index.milvus.engine import MilvusSearchIndex
from index.milvus.feed import send_vectors
from index.milvus.outbox import Outbox
from tests.embeddings.damage import damage_embedding
from tests.index.samples import some_logos
from tests.milvus.killed_build import Death, Doomed, Executioner, executioner
from tests.milvus.lite import LiteServer
from tests.milvus.samples import (
    DIM,
    STAMP,
    CountedMilvus,
    build,
    held,
    milvus_at,
    new_store,
    some_vectors,
    stored,
)
from tests.milvus.server import MilvusServer
from tests.milvus.standalone import StandaloneServer

LOGOS = some_logos(300)
IDS = LOGOS[0].tolist()
ROWS = 20  # a message: fifteen of them in all


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(index.sample, "QUERIES", 10)


@pytest.fixture
def index_dir(tmp_path: Path) -> Path:
    return tmp_path / "logos-v1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with new_store(tmp_path / "s.hdf5", LOGOS) as opened:
        yield opened


@pytest.fixture(scope="module")
def executing() -> Iterator[Executioner]:
    with executioner() as found:
        yield found


def answering(milvus: CountedMilvus) -> str | None:
    """The collection that the alias stands for."""
    return collections.aliased(milvus, "logos_logos_v1")


def names(milvus: CountedMilvus) -> list[str]:
    return sorted(milvus.call("list_collections", seconds=10))


def loaded(milvus: CountedMilvus, name: str) -> str:
    state: str = milvus.call("get_load_state", name, seconds=10)["state"].name
    return state


def assert_whole(milvus: CountedMilvus, store: EmbeddingStore, index_dir: Path, collection: Collection) -> None:
    """A build ended as it should."""
    assert answering(milvus) == collection.name
    assert held(milvus, collection.name) == stored(store)
    assert collections.describe(milvus, collection.name) == collection
    assert collection.record.items == len(store)
    assert not (index_dir / STATE_NAME).exists()
    memory = Outbox(index_dir).read()
    assert memory is not None
    assert memory[0] == collection.name
    later = store.since(memory[1])
    assert (later.added.tolist(), later.deleted, later.readded, later.complete) == ([], [], [], False)


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
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = milvus_at(lite)
    first = build(client, store, index_dir)
    slow = threading.Thread(target=build, args=(milvus_at(lite), store, index_dir), kwargs={"grace_seconds": 1.0})
    slow.start()
    while answering(client) == first.name:
        time.sleep(0.02)
    assert loaded(client, first.name) == "Loaded"
    slow.join()
    assert loaded(client, first.name) == "NotLoad"


def test_who_sends_new_logos_waits_for_the_switch_and_leaves_nothing_behind(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = milvus_at(lite)
    with Outbox(index_dir).turn(wait=True):
        waiting = threading.Thread(target=build, args=(milvus_at(lite), store, index_dir))
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive()
        assert answering(client) is None
        changed(store)  # after the build has sent what had changed by then
    waiting.join()
    name = answering(client)
    assert name is not None
    assert held(client, name) == stored(store)


DEATHS = [
    (Death("create_collection", answered=False), 300),
    (Death("create_collection"), 300),
    (Death("alter_collection_properties", call=1), 300),
    (Death("insert", call=1, answered=False), 300),
    (Death("insert", call=5, answered=False), 220),
    (Death("insert", call=5), 220),  # it could not write down that it was sent
    (Death("insert", call=15), 20),
    (Death("flush"), 0),
    (Death("load_collection"), 0),
    (Death("search", call=3), 0),
    (Death("alter_collection_properties", call=3, answered=False), 0),
    (Death("alter_collection_properties", call=4), 300),
    (Death("create_alias"), 300),
]
WHOLE = [death for death, _ in DEATHS[-2:]]  # services may answer from it by now, so another one is built


@pytest.mark.parametrize(("death", "sent_again"), DEATHS, ids=lambda value: str(getattr(value, "method", value)))
def test_a_build_that_was_killed_goes_on_where_it_was(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner, death: Death, sent_again: int
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, death))
    assert (answering(client) is None) == (death.method != "create_alias")
    whole = [name for name in names(client) if death in WHOLE]

    collection = build(client, store, index_dir)

    assert len(client.sent) == sent_again
    assert_whole(client, store, index_dir, collection)
    assert names(client) == [*whole, collection.name]


def changed(store: EmbeddingStore) -> None:
    """Add, delete and add again, of what a build of five messages sent and of what it did not."""
    store.delete([*IDS[10:15], *IDS[200:205]])
    store.append(*some_vectors([*IDS[12:15], *IDS[202:205], 9001, 9002]))
    store.delete([9002])


def test_a_build_goes_on_with_a_store_that_changed_since(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=5)))
    changed(store)

    collection = build(client, store, index_dir)

    # 220 less 5, 4 at the end, and those that came again are sent once more to be sure of their vectors.
    assert 215 <= len(client.sent) < 240
    assert_whole(client, store, index_dir, collection)


def test_a_build_that_goes_on_misses_what_milvus_lost_although_as_many_were_deleted(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner
) -> None:
    """Those deleted since are still in the collection, and must not be counted for those that are not."""
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=10)))
    (left,) = names(client)
    client.call("delete", left, ids=IDS[:5], seconds=10)
    store.delete(IDS[50:60])

    assert_whole(client, store, index_dir, build(client, store, index_dir))


@pytest.mark.parametrize(
    ("death", "options", "change"),
    [
        (Death("insert", call=1), {}, lambda store: None),
        (Death("insert", call=10), {"only": np.array(IDS[::2])}, lambda store: None),
        (Death("insert", call=5), {}, lambda store: (store.delete(IDS[:3]), store.append(*some_vectors(IDS[:3])))),
    ],
    ids=["before it noted any", "of some", "some came again"],
)
def test_nothing_is_inserted_twice(
    standalone: StandaloneServer,
    store: EmbeddingStore,
    index_dir: Path,
    executing: Executioner,
    monkeypatch: pytest.MonkeyPatch,
    death: Death,
    options: dict[str, Any],
    change: Callable[[EmbeddingStore], object],
) -> None:
    """Milvus itself keeps both."""
    monkeypatch.setattr(building, "LARGEST_MESSAGE", ROWS * 4 * DIM)  # beyond which a build that goes on inserts
    client = milvus_at(standalone, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, death, options))
    change(store)
    assert_whole(client, store, index_dir, build(client, store, index_dir))


def test_a_logo_that_is_there_twice_all_the_same_is_there_once_in_the_end(
    standalone: StandaloneServer, store: EmbeddingStore, index_dir: Path
) -> None:
    """pymilvus itself inserts a message again if the connection broke before the answer."""
    client = interrupted(standalone)

    def insert_again() -> None:
        half_filled = collections.describe(client, names(client)[0])
        assert half_filled is not None
        send_vectors(client, half_filled, LOGOS[0][:20], LOGOS[1][:20], method="insert")

    client.happenings["insert", 3] = insert_again
    assert_whole(client, store, index_dir, build(client, store, index_dir))


def test_a_build_of_a_store_that_was_compacted_since_begins_again(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=5)))
    changed(store)
    rewrite_store(store.path)

    collection = build(client, store, index_dir)

    assert len(client.sent) == 297
    assert_whole(client, store, index_dir, collection)
    assert names(client) == [collection.name]


def test_a_build_that_was_killed_twice_goes_on_all_the_same(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=5)))
    store.delete([IDS[0], IDS[299]])
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("upsert", call=5)))
    store.append(*some_vectors([IDS[1], IDS[0], IDS[299], 9001]))

    collection = build(client, store, index_dir)

    assert len(client.sent) < 160
    assert_whole(client, store, index_dir, collection)


@pytest.mark.parametrize("options", [{"resume": False}, {"kind": "HNSW"}])
def test_a_build_that_is_to_be_another_begins_again(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner, options: dict[str, Any]
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=5)))

    collection = build(client, store, index_dir, **options)

    assert len(client.sent) == 300
    assert_whole(client, store, index_dir, collection)
    assert names(client) == [collection.name]


@pytest.mark.parametrize("content", ["", "{}", '{"collection": "logos_logos_v1_20260101T000000Z", "mark": {}}', "MARK"])
def test_a_build_that_cannot_know_how_far_it_came_begins_again(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner, content: str
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=5)))
    state = index_dir / STATE_NAME
    left = json.loads(state.read_text())
    state.write_text(content if content != "MARK" else json.dumps({**left, "mark": {**left["mark"], "row": -5}}))

    collection = build(client, store, index_dir)

    assert len(client.sent) == 300
    assert_whole(client, store, index_dir, collection)


def test_what_a_build_left_is_not_gone_on_with_where_others_answer(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner
) -> None:
    """The services go on with the last whole one meanwhile."""
    client = milvus_at(lite, rows_a_message=ROWS)
    first = build(client, store, index_dir)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=5)))
    assert answering(client) == first.name
    assert held(client, first.name) == stored(store)

    second = build(client, store, index_dir)

    assert len(client.sent) == 300 + 220
    assert_whole(client, store, index_dir, second)
    assert names(client) == [first.name, second.name]


class Interrupted(CountedMilvus):
    """A connection on which something happens after a call.

    Attributes:
        happenings: what happens, by the method and the number of the call.
    """

    happenings: dict[tuple[str, int], Callable[[], object]]

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        answer = super().call(method, *args, seconds=seconds, **options)
        happening = self.happenings.pop((method, self.calls[method]), None)
        if happening is not None:
            happening()
        return answer


def interrupted(server: MilvusServer, **options: Any) -> Interrupted:
    connection = milvus_at(server, rows_a_message=ROWS, **options).connection
    milvus = Interrupted(connection)
    milvus.happenings = {}
    return milvus


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


def test_logos_that_milvus_lost_are_sent_again(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = interrupted(lite)
    client.happenings["load_collection", 1] = lambda: client.call(
        "delete", names(client)[0], ids=IDS[40:60], seconds=10
    )

    collection = build(client, store, index_dir)

    assert_whole(client, store, index_dir, collection)
    assert "holds 280 of 300 logos: sending the others again" in caplog.text
    assert sorted(client.sent[300:]) == sorted(IDS[40:60])


class Forgetful(CountedMilvus):
    """A connection on which one logo gets lost, each time."""

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        if method in ("insert", "upsert"):
            args = args[0], [row for row in args[1] if row["logo_id"] != IDS[7]]
        return super().call(method, *args, seconds=seconds, **options)


def test_a_milvus_that_keeps_losing_logos_is_not_switched_to(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = milvus_at(lite)
    first = build(client, store, index_dir)
    with pytest.raises(IndexBuildError, match="holds 299 of the 300 logos that were sent to it"):
        build(Forgetful(client.connection), store, index_dir)
    assert answering(client) == first.name


def built_while(server: MilvusServer, moment: tuple[str, int], store: EmbeddingStore, index_dir: Path) -> Collection:
    """A build during which the server is killed at some call, and started again by and by."""
    client = interrupted(server, connect_seconds=2.0, query_seconds=3.0)
    killed = threading.Event()

    def kill() -> None:
        server.kill()
        killed.set()

    client.happenings[moment] = kill
    done: list[Collection] = []
    building_it = threading.Thread(target=lambda: done.append(build(client, store, index_dir)))
    building_it.start()
    assert killed.wait(30)
    time.sleep(0.5)
    server.start()  # in this thread, for servers end with the one that started them
    building_it.join()
    return done[0]


def test_a_server_that_is_killed_is_waited_for(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collection = built_while(lite, ("insert", 5), store, index_dir)
    assert_whole(milvus_at(lite), store, index_dir, collection)
    assert "trying again" in caplog.text


@pytest.mark.parametrize("moment", [("insert", 5), ("flush", 1)], ids=["while it is filled", "while it is indexed"])
def test_a_real_server_that_is_killed_is_waited_for(
    standalone: StandaloneServer,
    store: EmbeddingStore,
    index_dir: Path,
    moment: tuple[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    collection = built_while(standalone, moment, store, index_dir)
    assert_whole(milvus_at(standalone), store, index_dir, collection)
    assert "trying again" in caplog.text


def test_patience_ends_and_the_next_build_goes_on(lite: LiteServer, store: EmbeddingStore, index_dir: Path) -> None:
    client = interrupted(lite)
    client.happenings["insert", 5] = lite.kill
    with pytest.raises(EngineUnreachableError):
        build(client, store, index_dir, patience_seconds=0.2)
    lite.start()
    sent = len(client.sent)

    collection = build(client, store, index_dir)

    assert sent == 100
    assert len(client.sent) == 300
    assert_whole(client, store, index_dir, collection)


class Unanswered(CountedMilvus):
    """A connection on which an insert comes without an answer, and comes again late, behind the upserts."""

    late: tuple[Any, ...] | None = None

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        if method == "flush" and self.late:
            super().call("insert", *self.late, seconds=seconds)
        answer = super().call(method, *args, seconds=seconds, **options)
        if method == "insert" and self.calls[method] == 3:
            self.late = args
            raise EngineUnreachableError("no answer in time")
        return answer


def test_an_insert_that_was_not_answered_leaves_no_logo_twice(
    milvus: MilvusServer, store: EmbeddingStore, index_dir: Path
) -> None:
    """Milvus keeps all that is inserted: of 100 neighbours asked for, it then answers fewer."""
    client = Unanswered(milvus_at(milvus, rows_a_message=ROWS).connection)

    collection = build(client, store, index_dir)

    assert client.calls["insert"] == 16  # of 15 messages
    assert collection.record.items == 300
    searched = MilvusSearchIndex(client, collection, store.vectors, 1)
    assert len(searched.nearest_to_logo(IDS[0], 300).logo_ids) == 300


class Refusing(CountedMilvus):
    """A connection to a Milvus that will not index, release or flush, as the test says."""

    refused: tuple[str, ...] = ()

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        if method in self.refused:
            raise EngineError(f"{method}: no")
        if method == "describe_index" and "get on" in self.refused:
            return {"state": "InProgress", "pending_index_rows": 300, "indexed_rows": 0, "total_rows": 300}
        if method == "describe_index" and "index" in self.refused:
            return {"state": "Failed", "pending_index_rows": 300, "indexed_rows": 0, "index_state_fail_reason": "no"}
        if method == "get_load_state" and "load" in self.refused:
            return {"state": LoadState.Loading, "progress": 10}
        return super().call(method, *args, seconds=seconds, **options)


@pytest.mark.parametrize(
    ("refused", "error", "says"),
    [
        ("index", IndexBuildError, "cannot index logos_logos_v1_.*: .*no"),
        ("get on", IndexBuildError, "makes no progress indexing"),
        ("load", IndexBuildError, "makes no progress loading logos_logos_v1_.* into memory: .*10"),
        ("flush", EngineError, "flush: no"),
    ],
)
def test_a_milvus_that_refuses_ends_the_build_and_changes_nothing(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, refused: str, error: type[Exception], says: str
) -> None:
    client = Refusing(milvus_at(lite).connection)
    first = build(client, store, index_dir)
    client.refused = (refused,)
    with pytest.raises(error, match=says):
        build(client, store, index_dir, patience_seconds=0.3)
    assert answering(client) == first.name
    assert held(client, first.name) == stored(store)


class Reading(CountedMilvus):
    """A connection to a Milvus that reads a collection into memory by a twentieth a look."""

    progress = 0

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        answer = super().call(method, *args, seconds=seconds, **options)
        if method == "get_load_state" and answer["state"] is LoadState.Loaded and self.progress < 100:
            self.progress += 5
            time.sleep(0.03)
            return {"state": LoadState.Loading, "progress": self.progress}
        return answer


def test_a_collection_is_read_into_memory_for_longer_than_patience_lasts_if_it_gets_on(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = Reading(milvus_at(lite).connection)
    assert_whole(client, store, index_dir, build(client, store, index_dir, patience_seconds=0.3))


def test_an_older_collection_that_cannot_be_released_fails_no_build(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = Refusing(milvus_at(lite).connection)
    build(client, store, index_dir)
    client.refused = ("release_collection",)
    assert_whole(client, store, index_dir, build(client, store, index_dir))
    assert "older collections of logos-v1 stay: release_collection: no" in caplog.text


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


def test_a_build_of_some_logos_does_not_go_on_with_one_of_all(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=10)))
    some = build(client, store, index_dir, only=np.array(IDS[:50]))
    assert set(held(client, some.name)) == set(IDS[:50])

    of_some = {"only": np.array(IDS[:50])}
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=2), of_some))
    assert_whole(client, store, index_dir, build(client, store, index_dir))


def test_a_build_of_all_logos_takes_the_left_one_of_some_for_no_more_than_it_is(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, executing: Executioner, caplog: pytest.LogCaptureFixture
) -> None:
    client = milvus_at(lite, rows_a_message=ROWS)
    of_some = {"only": np.array(IDS[::2])}
    executing.execute(Doomed(client.connection, store.path, index_dir, Death("insert", call=10), of_some))
    assert_whole(client, store, index_dir, build(client, store, index_dir))
    assert "sending" not in caplog.text


def test_equal_vectors_under_other_ids_are_no_misses(lite: LiteServer, tmp_path: Path, index_dir: Path) -> None:
    ids, vectors = some_logos(240, seed=4)
    logos = ids, vectors[np.arange(240) % 20]
    with new_store(tmp_path / "copies.hdf5", logos) as store:
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
