"""A store of 300 logos, builds of it that something happens to, and how each must end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from embeddings.store.store import EmbeddingStore
from index.milvus import collections
from index.milvus.build import STATE_NAME
from index.milvus.collections import Collection
from index.milvus.outbox import Outbox
from tests.index.samples import some_logos
from tests.milvus.samples import (
    CountedMilvus,
    held,
    milvus_at,
    some_vectors,
    stored,
)
from tests.milvus.servers.server import MilvusServer
from tests.waiting import PATIENCE

LOGOS = some_logos(300)
IDS = LOGOS[0].tolist()
ROWS = 20  # a message: fifteen of them in all


def answering(milvus: CountedMilvus) -> str | None:
    """The collection that the alias stands for."""
    return collections.aliased(milvus, "logos_logos_v1")


def names(milvus: CountedMilvus) -> list[str]:
    return sorted(milvus.call("list_collections", seconds=PATIENCE))


def loaded(milvus: CountedMilvus, name: str) -> str:
    state: str = milvus.call("get_load_state", name, seconds=PATIENCE)["state"].name
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


def changed(store: EmbeddingStore) -> None:
    """Add, delete and add again, of what a build of five messages sent and of what it did not."""
    store.delete([*IDS[10:15], *IDS[200:205]])
    store.append(*some_vectors([*IDS[12:15], *IDS[202:205], 9001, 9002]))
    store.delete([9002])


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
