"""A store of 50 logos, and the collection that a feed keeps in step with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from embeddings.errors import EmbeddingsError
from embeddings.store.store import EmbeddingStore
from index.milvus import collections
from index.milvus.catalog import MilvusCatalog
from index.milvus.collections import Collection
from index.milvus.feed import Feed
from index.milvus.outbox import Outbox
from tests.index.samples import Logos, some_logos
from tests.milvus.samples import (
    DIM,
    STAMP,
    held,
    milvus_at,
    new_collection,
    some_vectors,
    stored,
)
from tests.milvus.servers.server import MilvusServer
from tests.waiting import PATIENCE

LOGOS = some_logos(50)
IDS = LOGOS[0].tolist()
NEW = some_vectors([9001, 9002, 9003])


class Service:
    """A store and the collection that answers for it, as one process has them.

    Attributes:
        milvus: its connection, which counts what it sends.
        outbox: of the index.
    """

    def __init__(self, server: MilvusServer, path: Path, **options: Any) -> None:
        self.milvus = milvus_at(server, **{"query_seconds": PATIENCE, "write_seconds": PATIENCE, **options})
        self.store = EmbeddingStore(path)
        self.outbox = Outbox(path.parent / "index")
        self.catalog = MilvusCatalog(
            self.milvus,
            path.parent,
            dim=DIM,
            default="index",
            vectors=self.store.vectors,
            weights_digest=STAMP.digest,
            was_served=lambda: self.outbox.read() is not None,
        )
        self.feed = Feed(
            self.store, self.catalog, self.milvus, self.outbox, seconds=0.05, source_errors=(EmbeddingsError,)
        )

    def add(self, logos: Logos) -> None:
        self.store.append(*logos)
        self.feed.send(logos[0].tolist())

    def delete(self, logo_ids: list[int]) -> None:
        self.store.delete(logo_ids)
        self.feed.forget(logo_ids)

    def sent_again(self) -> list[int]:
        """Catch up, and answer what was sent."""
        before = len(self.milvus.sent)
        self.feed.catch_up()
        return self.milvus.sent[before:]

    def close(self) -> None:
        self.feed.close()
        self.catalog.close()
        self.store.close()


Start = Callable[..., Service]


def new_alias(server: MilvusServer, logos: Logos = LOGOS, name: str = "logos_index_20261129T030000Z") -> Collection:
    """A collection that the alias of the index stands for."""
    milvus = milvus_at(server)
    collection = new_collection(milvus, logos, name=name)
    known = collections.aliased(milvus, "logos_index")
    milvus.call("alter_alias" if known else "create_alias", name, "logos_index", seconds=PATIENCE)
    milvus.close()
    return collection


def in_step(service: Service, collection: Collection) -> bool:
    return held(service.milvus, collection.name) == stored(service.store)
