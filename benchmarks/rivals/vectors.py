"""The input of all engines in one run, in files: vectors, queries among them, and their true neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.logos import DIM, draw_logos
from benchmarks.rivals.engine import FloatArray, Items, blocks

Rows = Sequence[int] | Items

LARGEST_COUNT = 100
SPARE = 2  # candidates measured again in float64, for each neighbour
_ROUNDING = 2.0**-20  # of squared distances


@dataclass(frozen=True, slots=True)
class VectorFiles:
    """A folder with `vectors.npy`, `(n, dim)` float32, and rows of it: `queries.npy`, and `truth.npy`, nearest first.

    A query is one of the vectors, like the service's queries by id, and is the first of its own neighbours.
    """

    folder: Path

    @property
    def vectors(self) -> FloatArray:
        """The vectors, mapped."""
        mapped: FloatArray = np.load(self.folder / "vectors.npy", mmap_mode="r")
        return mapped

    @property
    def queries(self) -> Items:
        """The rows of the queries, `(q,)`."""
        rows: Items = np.load(self.folder / "queries.npy")
        return rows

    @property
    def truth(self) -> Items:
        """The rows of their nearest, `(q, LARGEST_COUNT)` or fewer."""
        rows: Items = np.load(self.folder / "truth.npy")
        return rows

    @classmethod
    def draw(cls, folder: Path, count: int, queries: int, seed: int) -> VectorFiles:
        """Draw `count` logos into a folder."""
        file = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (count, DIM))
        start = 0
        for _, drawn in draw_logos(count, seed):
            file[start : start + len(drawn)] = drawn
            start += len(drawn)
        file.flush()
        return cls(folder)._with_queries(queries, seed)

    @classmethod
    def copy(cls, folder: Path, vectors: FloatArray, queries: int, seed: int) -> VectorFiles:
        """Copy existing vectors into a folder."""
        np.save(folder / "vectors.npy", vectors)
        return cls(folder)._with_queries(queries, seed)

    def _with_queries(self, count: int, seed: int) -> VectorFiles:
        vectors = self.vectors
        rows = np.random.default_rng(seed).permutation(len(vectors))[:count]
        np.save(self.folder / "queries.npy", rows)
        np.save(self.folder / "truth.npy", nearest(vectors, np.array(vectors[rows]), LARGEST_COUNT))
        return self


def nearest(vectors: FloatArray, queries: FloatArray, count: int) -> Items:
    """Return the rows `(q, count)` of the true nearest vectors of each query, nearest first.

    One pass ranks by float32 products; the best `SPARE * count` are then measured by difference in float64.
    """
    kept = min(SPARE * count, len(vectors))
    rows, distances = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for start, block in blocks(vectors):
        of_block = np.einsum("ij,ij->i", block, block) - 2 * (queries @ block.T)
        rows = np.hstack([rows, np.broadcast_to(np.arange(start, start + len(block)), of_block.shape)])
        distances = np.hstack([distances, of_block])
        if rows.shape[1] > kept:
            best = np.argpartition(distances, kept - 1, axis=1)[:, :kept]
            rows = np.take_along_axis(rows, best, axis=1)
            distances = np.take_along_axis(distances, best, axis=1)
    ranked = np.empty((len(queries), min(count, len(vectors))), np.int64)
    for query, found, answer in zip(queries, rows, ranked, strict=True):
        differences = vectors[np.sort(found)].astype(np.float64) - query
        order = np.argsort(np.einsum("ij,ij->i", differences, differences), kind="stable")
        answer[:] = np.sort(found)[order[: len(answer)]]
    return ranked


def count_found(vectors: FloatArray, query: FloatArray, answered: Rows, true: Rows) -> int:
    """Count the answers that are as near as the true neighbours: rows of equal vectors are equally right.

    Args:
        vectors: (n, dim)
        query: (dim,)
        answered: rows that an engine returned; negative ones stand for none.
        true: rows of the nearest, nearest first.
    """
    rows = np.unique(np.asarray(answered, np.int64))
    farthest = _squares(vectors, query, true[-1:])[0]
    near = _squares(vectors, query, rows[rows >= 0]) <= farthest * (1 + _ROUNDING)
    return min(int(np.count_nonzero(near)), len(true))


def _squares(vectors: FloatArray, query: FloatArray, rows: Rows) -> NDArray[np.float64]:
    differences = vectors[np.asarray(rows, np.int64)].astype(np.float64) - query
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", differences, differences)
    return squares
