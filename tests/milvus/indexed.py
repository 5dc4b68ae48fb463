"""A data directory of 60 logos, and a Milvus that holds 40 of them, as `generate-index --as-indexed` leaves both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from index.milvus import collections
from index.milvus.client import ConnectionOptions, Milvus
from index.milvus.collections import Collection, Record
from index.milvus.feed import send_vectors
from runtime.engines import outbox_of
from runtime.startup import prepare
from settings import Settings
from tests.milvus.servers.server import MilvusServer
from tests.original_files import random_vectors
from tests.settings_with import settings_with
from tests.waiting import PATIENCE

LOGO_IDS = [3, 2**31 - 1, *range(1001, 1059)]
INDEXED, STORED_ONLY = LOGO_IDS[:40], LOGO_IDS[40:]
VECTORS = random_vectors(len(LOGO_IDS))
INDEX = "efficientnet-b0"
ALIAS = "logos_efficientnet_b0"
A = "/api/v1/ann"


def settings_of(server: MilvusServer, data_dir: Path, **changes: Any) -> Settings:
    """Settings of a service that answers from a server, and looks at it twenty times a second."""
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "engine": "milvus",
        "milvus_uri": server.uri,
        "milvus_token": server.token,
        "store_capacity": 400,
        "allow_private_image_hosts": True,
        "allow_delete": True,
        "reload_seconds": 0.05,
    }
    return settings_with(**{**values, **changes})


def variables_of(server: MilvusServer) -> dict[str, str]:
    """The same for a service in a process of its own, by the variables of its environment."""
    return {
        "ANN_ENGINE": "milvus",
        "ANN_MILVUS_URI": server.uri,
        "ANN_ALLOW_DELETE": "1",
        "ANN_STORE_CAPACITY": "400",
        "ANN_RELOAD_SECONDS": "0.05",
    }


def fill_data_dir(data_dir: Path) -> None:
    """Store the 60 logos."""
    settings = Settings(data_dir=data_dir, store_capacity=400)
    prepare(settings)
    with EmbeddingStore(settings.store_path) as store:
        store.append(LOGO_IDS, VECTORS, [Provenance(f"http://photos.test/{k}.jpg", (0, 0, 1, 1)) for k in LOGO_IDS])


def index(
    server: MilvusServer,
    ids: Sequence[int] = INDEXED,
    vectors: NDArray[np.float32] = VECTORS,
    *,
    name: str = INDEX,
    change: Callable[[Record], Record | None] = lambda record: record,
    time: str = "20261129T030000Z",
) -> str:
    """Make a whole collection, point the alias of the index at it, and return its name; quicker than a build.

    Args:
        vectors: (at least as many as ids, dim)
        change: what to do to its record; `None` takes it away.
    """
    alias = collections.alias_of(name)
    collection = f"{alias}_{time}"
    milvus = Milvus(ConnectionOptions(server.uri, token=server.token))
    record = Record(name, "", "", "FLAT", stored_rows=len(ids))
    whole = replace(record, items=len(ids), built_at=datetime.now(UTC).isoformat(timespec="seconds"))
    collections.create(milvus, collection, dim=vectors.shape[1], record=record, params={}, shards=1)
    milvus.call("load_collection", collection, seconds=PATIENCE)
    send_vectors(milvus, Collection(collection, vectors.shape[1], record), np.array(ids), vectors[: len(ids)])
    collections.count(milvus, collection, seconds=PATIENCE, strong=True)  # the next reads see them all
    changed = change(whole)
    if changed is None:
        keys = [collections.PROPERTY]
        milvus.call("drop_collection_properties", collection, property_keys=keys, seconds=PATIENCE)
    else:
        collections.write_record(milvus, collection, changed)
    point(milvus, alias, collection)
    milvus.close()
    return collection


def point(milvus: Milvus, alias: str, collection: str) -> None:
    """Have an alias stand for a collection."""
    method = "create_alias" if collections.aliased(milvus, alias) is None else "alter_alias"
    milvus.call(method, collection, alias, seconds=PATIENCE)


def note_as_indexed(data_dir: Path, collection: str) -> None:
    """Note, as a build does, that the collection holds what it is to hold of all that is stored so far."""
    settings = Settings(data_dir=data_dir)
    with EmbeddingStore(settings.store_path) as store:
        outbox_of(settings).write(collection, store.mark())
