"""A build outlives a server that is killed, loses logos or is slow, and ends with a sentence if the server refuses."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pymilvus.client.types import LoadState

from embeddings.store.store import EmbeddingStore
from index.errors import EngineError, EngineUnreachableError, IndexBuildError
from index.milvus import collections
from index.milvus.collections import Collection
from index.milvus.engine import MilvusSearchIndex
from index.milvus.feed import send_vectors
from tests.milvus.builds.building import IDS, LOGOS, ROWS, answering, assert_whole, interrupted, names
from tests.milvus.samples import (
    CountedMilvus,
    build,
    held,
    milvus_at,
    stored,
)
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.milvus.servers.standalone import StandaloneServer
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("quick_builds")


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
    with pytest.raises(IndexBuildError, match="holds only 299 of the 300 logos that were sent to it"):
        build(Forgetful(client.connection), store, index_dir)
    assert answering(client) == first.name


def built_while(
    server: MilvusServer,
    moment: tuple[str, int],
    store: EmbeddingStore,
    index_dir: Path,
    caplog: pytest.LogCaptureFixture,
) -> Collection:
    """A build during which the server is killed at some call, and started again by and by."""
    client = interrupted(server)
    killed = threading.Event()

    def kill() -> None:
        server.kill()
        killed.set()

    client.happenings[moment] = kill
    done: list[Collection] = []
    building_it = threading.Thread(target=lambda: done.append(build(client, store, index_dir)))
    building_it.start()
    assert killed.wait(PATIENCE)
    wait_until(lambda: "trying again" in caplog.text)
    server.start()  # in this thread, for servers end with the one that started them
    building_it.join()
    return done[0]


def test_a_server_that_is_killed_is_waited_for(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collection = built_while(lite, ("insert", 5), store, index_dir, caplog)
    assert_whole(milvus_at(lite), store, index_dir, collection)


@pytest.mark.parametrize("moment", [("insert", 5), ("flush", 1)], ids=["while it is filled", "while it is indexed"])
def test_a_real_server_that_is_killed_is_waited_for(
    standalone: StandaloneServer,
    store: EmbeddingStore,
    index_dir: Path,
    moment: tuple[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    collection = built_while(standalone, moment, store, index_dir, caplog)
    assert_whole(milvus_at(standalone), store, index_dir, collection)


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
        build(client, store, index_dir, patience_seconds=2.0)
    assert answering(client) == first.name
    assert held(client, first.name) == stored(store)


class Reading(CountedMilvus):
    """A connection to a Milvus that reads a collection into memory by a twentieth a look."""

    progress = 0

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        answer = super().call(method, *args, seconds=seconds, **options)
        if method == "get_load_state" and answer["state"] is LoadState.Loaded and self.progress < 100:
            self.progress += 5
            time.sleep(0.2)
            return {"state": LoadState.Loading, "progress": self.progress}
        return answer


def test_a_collection_is_read_into_memory_for_longer_than_patience_lasts_if_it_gets_on(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path
) -> None:
    client = Reading(milvus_at(lite).connection)
    assert_whole(client, store, index_dir, build(client, store, index_dir, patience_seconds=2.0))


def test_an_older_collection_that_cannot_be_released_fails_no_build(
    lite: LiteServer, store: EmbeddingStore, index_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = Refusing(milvus_at(lite).connection)
    build(client, store, index_dir)
    client.refused = ("release_collection",)
    assert_whole(client, store, index_dir, build(client, store, index_dir))
    assert "older collections of logos-v1 stay: release_collection: no" in caplog.text
