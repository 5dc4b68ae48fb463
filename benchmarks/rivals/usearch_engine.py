"""usearch: HNSW with vectors of lower precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.rivals.engine import Engine, FloatArray, Items, blocks
from benchmarks.rivals.faiss_engines import BUILD_EFFORT, LINKS


class Usearch(Engine):
    """A graph over half-precision vectors, which the package recommends for large sets."""

    title = f"usearch M={LINKS}, f16"
    packages = ("usearch",)
    held_bytes_a_value = 2.1
    effort = "expansion_search"
    efforts = (16, 32, 64, 128, 256, 512)

    def fit(self, vectors: FloatArray, folder: Path) -> None:
        from usearch.index import Index

        self._index = Index(
            ndim=vectors.shape[1], metric="l2sq", dtype="f16", connectivity=LINKS, expansion_add=BUILD_EFFORT
        )
        for start, block in blocks(vectors):
            self._index.add(np.arange(start, start + len(block)), block)
        self._index.save(str(folder / "index.usearch"))

    def set_effort(self, effort: int | None, count: int) -> None:
        assert effort is not None
        self._index.expansion_search = max(effort, count)  # type: ignore[misc, unused-ignore]

    def query(self, vector: FloatArray, count: int) -> Items:
        return np.asarray(self._index.search(vector, count, threads=1).keys, np.int64)
