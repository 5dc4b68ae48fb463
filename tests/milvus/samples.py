"""Small stores, collections and indexes for the tests of this room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from index.milvus import collections
from index.milvus.build import CollectionBuild
from index.milvus.client import ConnectionOptions, Milvus
from index.milvus.collections import Collection, Record
from index.milvus.engine import MilvusSearchIndex
from index.milvus.feed import send_vectors
from index.milvus.kinds import IndexKind
from index.milvus.plan import CollectionPlan
from index.protocol import Neighbours, Vectors
from tests.index.samples import Logos, some_logos
from tests.milvus.servers.server import MilvusServer
from tests.stores import new_store
from tests.waiting import PATIENCE

DIM = 8
STAMP = ModelStamp("efficientnet-b0", "d" * 64)
FLOAT32 = 2.0**-23


class CountedMilvus(Milvus):
    """A connection that keeps count of its calls.

    Attributes:
        calls: by the method's name.
        sent: the ids of the logos that were sent, those sent twice twice.
    """

    def __init__(self, connection: ConnectionOptions) -> None:
        super().__init__(connection)
        self.calls: Counter[str] = Counter()
        self.sent: list[int] = []

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        answer = super().call(method, *args, seconds=seconds, **options)
        self.calls[method] += 1
        if method in ("insert", "upsert"):
            self.sent += [row["logo_id"] for row in args[1]]
        return answer


def milvus_at(server: MilvusServer, *, rows_a_message: int = 1000, dim: int = DIM, **options: Any) -> CountedMilvus:
    """A connection to a server; a message takes so many vectors."""
    return CountedMilvus(ConnectionOptions(server.uri, message_bytes=rows_a_message * (4 * dim + 16), **options))


def store_with(path: Path, logos: Logos, *, capacity: int = 1000) -> EmbeddingStore:
    """A store that holds some logos."""
    store = new_store(path, capacity=capacity, dim=logos[1].shape[1], stamp=STAMP)
    store.append(*logos)
    return store


def new_collection(
    milvus: Milvus, logos: Logos, *, kind: str = "FLAT", name: str = "logos_index", sealed: bool = False
) -> Collection:
    """A loaded collection that holds some logos, made without a build; sealed ones are searched by their index."""
    record = Record("index", STAMP.name, STAMP.digest, kind)
    params = IndexKind.of(kind, len(logos[0])).params
    collections.create(milvus, name, dim=logos[1].shape[1], record=record, params=params, shards=1)
    collection = Collection(name, logos[1].shape[1], record)
    send_vectors(milvus, collection, *logos)
    if sealed:
        milvus.call("flush", name, seconds=PATIENCE)
    milvus.call("load_collection", name, seconds=PATIENCE)
    record = replace(record, items=len(logos[0]), built_at="2026-11-29T03:00:00+00:00")
    collections.write_record(milvus, name, record)
    return replace(collection, record=record)


def build(milvus: Milvus, store: EmbeddingStore, index_dir: Path, **options: Any) -> Collection:
    """Build a collection from a store, and switch to it; options are those of `CollectionPlan`, and `only`."""
    only = options.pop("only", None)
    plan = CollectionPlan(**{"kind": "FLAT", "grace_seconds": 0.0, "patience_seconds": PATIENCE, **options})
    return CollectionBuild(milvus, store, index_dir, plan, only=only).run()


def held(milvus: Milvus, name: str) -> dict[int, list[float]]:
    """All that a loaded collection holds: the vector of each logo."""
    rows = milvus.call(
        "query",
        name,
        filter="logo_id > 0",
        limit=16_384,
        output_fields=["logo_id", "embedding"],
        consistency_level="Strong",
        seconds=PATIENCE,
    )
    assert len(rows) == len({row["logo_id"] for row in rows}), "a logo is there twice"
    return {row["logo_id"]: list(row["embedding"]) for row in rows}


def stored(store: EmbeddingStore) -> dict[int, list[float]]:
    """All that a store holds: the vector of each logo."""
    ids = store.ids()
    return dict(zip(ids.tolist(), store.vectors(ids).tolist(), strict=True))


def some_vectors(logo_ids: Sequence[int], *, dim: int = DIM, seed: int = 99) -> Logos:
    """Other vectors for some ids."""
    return np.array(logo_ids, np.int64), some_logos(len(logo_ids), dim, seed)[1]


def vectors_of(*logos: Logos) -> Vectors:
    """What a store of some logos, and no others, gives."""
    known = {logo_id: vector for ids, vectors in logos for logo_id, vector in zip(ids.tolist(), vectors, strict=True)}
    nothing = np.full(DIM, np.nan, np.float32)
    return lambda ids: np.array([known.get(i, nothing) for i in ids.tolist()], np.float32).reshape(-1, DIM)


def index_of(milvus: Milvus, collection: Collection, *stored: Logos, effort: int = 100) -> MilvusSearchIndex:
    return MilvusSearchIndex(milvus, collection, vectors_of(*stored), effort)


def new_index(milvus: Milvus, logos: Logos) -> MilvusSearchIndex:
    """An index of logos that are stored here, too."""
    return index_of(milvus, new_collection(milvus, logos), logos)


def assert_same(found: Neighbours, exact: Neighbours) -> None:
    assert found.logo_ids == exact.logo_ids
    assert found.distances == pytest.approx(exact.distances, rel=4 * FLOAT32, abs=1e-6)
    assert all(type(distance) is float for distance in found.distances)
    assert all(type(logo_id) is int for logo_id in found.logo_ids)
