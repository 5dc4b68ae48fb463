"""What tests of replaced logos share: logos whose vectors and provenance say which version they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.store.deletions import DeletionLog
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store

DIM = 8
OLD, NEW = 0, 1
IDS = [1, 2, 3, 4]
REPLACED = [2, 4, 9]  # the last one is new


def store_of_four(path: Path) -> EmbeddingStore:
    create_store(path, capacity=5000, dim=DIM, stamp=ModelStamp("a", "digest"))
    store = EmbeddingStore(path)
    put(store, IDS, OLD)
    return store


def vectors(ids: list[int], version: int) -> NDArray[np.float32]:
    return np.array([[logo_id + 100 * version] * DIM for logo_id in ids], np.float32).reshape(len(ids), DIM)


def origin(logo_id: int, version: int) -> Provenance:
    return Provenance(f"https://images.test/{logo_id}-{version}.jpg", (0.0, 0.0, 1.0, 0.5))


def put(store: EmbeddingStore, ids: list[int], version: int) -> list[int]:
    """Store logos, or replace them."""
    origins = [origin(logo_id, version) for logo_id in ids]
    return store.append(ids, vectors(ids, version), origins, replace=version > 0)


def version_of(store: EmbeddingStore, logo_id: int) -> int:
    """Return which version of a logo a store answers with, wherever it is asked."""
    vector = store.get(logo_id)
    version = round((float(vector[0]) - logo_id) / 100)
    assert np.array_equal(vector, vectors([logo_id], version)[0])
    assert np.array_equal(store.vectors(np.array([logo_id]))[0], vector)
    assert store.provenance([logo_id]) == {logo_id: origin(logo_id, version)}
    return version


def versions_in(path: Path) -> dict[int, int]:
    """Open a store, hold all that it answers against each other, and return which version of each logo it has."""
    with EmbeddingStore(path) as store:
        versions = {logo_id: version_of(store, logo_id) for logo_id in store.ids().tolist()}
        assert len(store.ids()) == len(store) == len(versions)
        blocks = [*store.snapshot().blocks_with_provenance()]
        for block in blocks:
            for logo_id, vector, known in zip(block.ids.tolist(), block.embeddings, block.provenance, strict=True):
                assert np.array_equal(vector, vectors([logo_id], versions[logo_id])[0])
                assert known == origin(logo_id, versions[logo_id])
        assert sum(len(block.ids) for block in blocks) == len(versions)
        assert store.deleted_among(versions) == set()
        assert [*store.verify()] == []
        return versions


def stop_before_the_old_rows_go(path: Path) -> None:
    """Replace logos, and end as a process does that is killed when the new rows are on the disk."""
    with pytest.MonkeyPatch.context() as patch, EmbeddingStore(path) as store:
        patch.setattr(DeletionLog, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            put(store, REPLACED, NEW)


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
