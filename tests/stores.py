"""Small stores, and files of the original's layout, with drawn embeddings."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store

DIM = 4
STAMP = ModelStamp("a", "digest")


def vectors(count: int, dim: int = DIM) -> NDArray[np.float32]:
    """Draw `(count, dim)` embeddings: the same ones each time for the same count."""
    return np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)


def new_store(
    path: Path, *logo_ids: int, capacity: int = 100, dim: int = DIM, stamp: ModelStamp = STAMP
) -> EmbeddingStore:
    """Make a store of some logos, with `vectors` of theirs."""
    create_store(path, capacity=capacity, dim=dim, stamp=stamp)
    store = EmbeddingStore(path)
    store.append(logo_ids, vectors(len(logo_ids), dim))
    return store


def original(
    path: Path, ids: list[int], embeddings: NDArray[np.float32], *, capacity: int = 50, chunks: tuple[int, int] = (7, 3)
) -> Path:
    """Write a file as the original service did: chunked datasets, and 0 for an empty row."""
    with h5py.File(path, "w") as hdf5:
        rows = hdf5.create_dataset("embedding", (capacity, embeddings.shape[1]), "f", chunks=chunks)
        keys = hdf5.create_dataset("external_id", (capacity,), "i", chunks=True)
        rows[: len(ids)] = embeddings
        keys[: len(ids)] = ids
    return path
