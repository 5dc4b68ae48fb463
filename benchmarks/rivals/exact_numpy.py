"""Exact search in numpy: a matrix product with all vectors, and a partition for the smallest distances."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.rivals.engine import Engine, FloatArray, Items, blocks


class ExactNumpy(Engine):
    """Compares every vector with the query; the vectors stay mapped."""

    title = "exact, numpy"
    packages = ("numpy",)
    numpy_in_queries = True

    def fit(self, vectors: FloatArray, folder: Path) -> None:
        self._vectors = vectors
        self._squares = np.concatenate([np.einsum("ij,ij->i", block, block) for _, block in blocks(vectors)])

    def set_effort(self, effort: int | None, count: int) -> None:
        pass

    def query(self, vector: FloatArray, count: int) -> Items:
        distances = self._squares - 2 * (self._vectors @ vector)
        nearest: Items = np.argpartition(distances, min(count, len(distances)) - 1)[:count]
        return nearest
