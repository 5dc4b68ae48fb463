"""Exact search: the reference for approximate engines, and fast enough for small indexes.

A query takes one pass over all vectors. The pass estimates distances by a matrix product, which is fast but loses
digits where vectors are long and close together. So each vector that the estimate's error bound cannot exclude is then
measured by direct difference, in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.files.logo_ids import IndexedLogos, LogoIds
from index.protocol import Neighbours
from index.vectors import as_query, check_count, squared_lengths, usable_rows

_BLOCK_VALUES = 2**20


class ExactIndex(IndexedLogos):
    """Logos `(n,)` with their vectors `(n, dim)` float32, searched exactly.

    The vectors are not copied: they may be a memory map larger than the memory. Besides them the index takes 20 bytes a
    logo, and a query about 50 bytes a logo.

    Raises:
        ValueError: the shapes do not match, an id is not positive or occurs twice, or a vector is not usable.
    """

    def __init__(self, logo_ids: ArrayLike, vectors: NDArray[np.float32]) -> None:
        if vectors.ndim != 2 or np.shape(logo_ids) != (len(vectors),):
            raise ValueError(f"ids of shape {np.shape(logo_ids)} do not match vectors of shape {vectors.shape}")
        self._logo_ids = LogoIds(logo_ids)
        self._vectors = np.asarray(vectors, np.float32)
        self._squared_lengths = np.empty(len(vectors), np.float64)
        for rows in self._blocks(len(vectors)):
            if not usable_rows(self._vectors[rows]).all():
                raise ValueError(f"a vector in rows {rows.start} to {rows.stop} is not finite, or too long")
            self._squared_lengths[rows] = squared_lengths(self._vectors[rows])

    @property
    def dim(self) -> int:
        """The number of values in a vector."""
        return int(self._vectors.shape[1])

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to an indexed one: itself first, at distance 0."""
        item = self._logo_ids.item_of(logo_id)
        return self._nearest(self._vectors[item], count, first=item)

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` float32 vector."""
        return self._nearest(as_query(vector, self.dim), count, first=-1)

    def _nearest(self, query: NDArray[np.float32], count: int, *, first: int) -> Neighbours:
        check_count(count)
        if not len(self):
            return Neighbours([], [])
        items = self._candidates(query, min(count, len(self)))
        distances = self._distances(query, items)
        order = np.lexsort((items, items != first, distances))[:count]
        return Neighbours(self._logo_ids.of_items(items[order]), distances[order].tolist())

    def _candidates(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return every item that may be among the nearest, in ascending order.

        A dot product of `dim` terms in floating point, summed in any order, is off by at most
        `dim u / (1 - dim u)` times the product of the lengths, `u` being the unit roundoff (Higham, Accuracy
        and Stability of Numerical Algorithms, 2nd ed., section 3.1).
        """
        unit = self.dim * 2.0**-24
        squared_length = float(squared_lengths(query[np.newaxis])[0])
        estimate = self._squared_lengths + squared_length - 2 * (self._vectors @ query).astype(np.float64)
        error = 2 * unit / (1 - unit) * np.sqrt(self._squared_lengths * squared_length)
        # Not in the bound: the float64 sums, the rounding of the result to float32, and underflow.
        error += 2.0**-22 * np.maximum(estimate, 0) + 2.0**-40 * (self._squared_lengths + squared_length) + 1e-35
        furthest = np.partition(estimate + error, count - 1)[count - 1]
        return np.flatnonzero(estimate - error <= furthest)

    def _distances(self, query: NDArray[np.float32], items: NDArray[np.int64]) -> NDArray[np.float32]:
        distances = np.empty(len(items), np.float32)
        for rows in self._blocks(len(items)):
            differences = self._vectors[items[rows]].astype(np.float64) - query
            distances[rows] = np.sqrt(np.einsum("ij,ij->i", differences, differences))
        return distances

    def _blocks(self, count: int) -> list[slice]:
        step = max(1, _BLOCK_VALUES // self.dim)
        return [slice(start, start + step) for start in range(0, count, step)]
