"""Files of small stores, made and filled below the store that uses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.store.layout import ModelStamp
from embeddings.store.store_file import StoreFile
from embeddings.store.store_path import create_store

STAMP = ModelStamp("efficientnet-b0", "abc")


def make(path: Path, capacity: int = 10, dim: int = 4) -> Path:
    create_store(path, capacity=capacity, dim=dim, stamp=STAMP)
    return path


def fill(path: Path, ids: list[int], dim: int = 4) -> NDArray[np.float32]:
    embeddings = np.random.default_rng(0).random((len(ids), dim), np.float32)
    file = StoreFile(path, writable=True)
    file.write_content(0, np.array(ids), embeddings)
    file.write_ids(0, np.array(ids))
    return embeddings
