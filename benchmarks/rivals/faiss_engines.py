"""faiss: exact search, HNSW, and inverted lists of product codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.engine import Engine, FloatArray, Items, blocks

LINKS, BUILD_EFFORT = 16, 200  # of a graph; hnswlib and usearch have the same
CODE_BYTES = 160
TRAINING_VECTORS_A_LIST = 40  # faiss warns below 39


class _Faiss(Engine):
    packages = ("faiss-cpu",)
    held_bytes_a_value = 4.0
    setting: str  # of `faiss.ParameterSpace`

    def _build(self, vectors: FloatArray) -> Any:
        """Return an empty, trained index."""
        raise NotImplementedError

    def fit(self, vectors: FloatArray, folder: Path) -> None:
        import faiss

        self._faiss = faiss
        index = self._build(vectors)
        for _, block in blocks(vectors):
            index.add(block)
        faiss.write_index(index, str(folder / "index.faiss"))
        self._index = index
        faiss.omp_set_num_threads(1)

    def set_effort(self, effort: int | None, count: int) -> None:
        if effort is not None:
            self._faiss.ParameterSpace().set_index_parameter(self._index, self.setting, effort)

    def query(self, vector: FloatArray, count: int) -> Items:
        _, items = self._index.search(vector[np.newaxis], count)
        found: Items = items[0]
        return found[found >= 0]


class FaissFlat(_Faiss):
    """Exact search."""

    title = "faiss flat"

    def _build(self, vectors: FloatArray) -> Any:
        return self._faiss.IndexFlatL2(vectors.shape[1])


class FaissHnsw(_Faiss):
    """A graph of links between near vectors, at full precision."""

    title = f"faiss HNSW{LINKS}"
    effort = setting = "efSearch"
    efforts = (16, 32, 64, 128, 256, 512)

    def _build(self, vectors: FloatArray) -> Any:
        index = self._faiss.IndexHNSWFlat(vectors.shape[1], LINKS)
        index.hnsw.efConstruction = BUILD_EFFORT
        return index


class FaissIvfPq(_Faiss):
    """Lists of product codes; the best of each query, four times the count, are ranked again by 8-bit values."""

    title = f"faiss IVF-PQ{CODE_BYTES}, refined by SQ8"
    effort = setting = "nprobe"
    held_bytes_a_value = 1.2
    efforts = (1, 4, 16, 64, 256)

    def _build(self, vectors: FloatArray) -> Any:
        count, dim = vectors.shape
        self._lists = 2 ** max(2, round(np.log2(4 * count**0.5)))
        self._lists = min(self._lists, max(1, count // TRAINING_VECTORS_A_LIST))
        codes = CODE_BYTES if dim % CODE_BYTES == 0 else dim
        # np: not polysemous, which takes minutes more to train and does not help these queries.
        index = self._faiss.index_factory(dim, f"IVF{self._lists},PQ{codes}np,Refine(SQ8)")
        sample = np.random.default_rng(1).permutation(count)[: max(TRAINING_VECTORS_A_LIST * self._lists, 20_000)]
        index.train(np.array(vectors[np.sort(sample)]))
        return index

    def set_effort(self, effort: int | None, count: int) -> None:
        assert effort is not None
        super().set_effort(min(effort, self._lists), count)
        self._faiss.ParameterSpace().set_index_parameter(self._index, "k_factor_rf", 4)
