"""A build that was killed resumes where it was, or begins again if it cannot know where that is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.store import EmbeddingStore
from index.milvus import build as building
from index.milvus.build import STATE_NAME
from tests.milvus.builds.building import IDS, ROWS, answering, assert_whole, changed, names
from tests.milvus.builds.killed_build import Death, Doomed, Executioner, executioner
from tests.milvus.samples import (
    DIM,
    build,
    held,
    milvus_at,
    some_vectors,
    stored,
)
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.standalone import StandaloneServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("quick_builds")


@pytest.fixture(scope="module")
def executing() -> Iterator[Executioner]:
    with executioner() as found:
        yield found


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
    client.call("delete", left, ids=IDS[:5], seconds=PATIENCE)
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
    assert "are sent again" not in caplog.text
