"""hnswlib: the graph by the authors of HNSW."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.rivals.engine import Engine, FloatArray, Items, blocks
from benchmarks.rivals.faiss_engines import BUILD_EFFORT, LINKS


class Hnswlib(Engine):
    """A graph of links between near vectors, at full precision."""

    title = f"hnswlib M={LINKS}"
    packages = ("hnswlib",)
    held_bytes_a_value = 4.0
    effort = "ef"
    efforts = (16, 32, 64, 128, 256, 512)

    def fit(self, vectors: FloatArray, folder: Path) -> None:
        import hnswlib

        self._index = hnswlib.Index("l2", vectors.shape[1])
        self._index.init_index(len(vectors), M=LINKS, ef_construction=BUILD_EFFORT, random_seed=1)
        for start, block in blocks(vectors):
            self._index.add_items(block, np.arange(start, start + len(block)))
        self._index.save_index(str(folder / "index.hnsw"))
        self._index.set_num_threads(1)

    def set_effort(self, effort: int | None, count: int) -> None:
        assert effort is not None
        self._index.set_ef(max(effort, count))

    def query(self, vector: FloatArray, count: int) -> Items:
        items, _ = self._index.knn_query(vector, count)
        return np.asarray(items[0], np.int64)
