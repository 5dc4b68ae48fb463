"""Exact search among logos that are added one after another.

The vectors lie in one block of memory. A query takes one product of it with a vector, in float32, and only the logos
that the rounding of this estimate cannot exclude are measured in float64. That is half the time of `index.exact`,
whose estimates are in float64, and adding a logo moves no other one. Where it is known how near a logo must be to
count, most are ruled out before, by their rounded vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from index.protocol import Neighbours
from index.rounded import RoundedVectors
from index.vectors import as_query, check_count, squared_lengths

_LEAST_ROOM = 64  # rows
_ROUNDED_FROM = 1000  # rows of room; fewer are scanned as quickly themselves


@dataclass(frozen=True, slots=True)
class Grown:
    """The logos that were there at one moment. Threads may search it while others are added.

    Attributes:
        ids: (n,) in the order they were added.
        vectors: (n, dim)
        alive: (n,) false for logos that were replaced, or gave way to newer ones.
        row_of: the row of each logo, also of those added since.
        lengths: (n,) of the vectors.
        rounded: the vectors, rounded, if they are many.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    alive: NDArray[np.bool_]
    row_of: dict[int, int]
    lengths: NDArray[np.float32]
    rounded: RoundedVectors | None

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

    def __contains__(self, logo_id: int) -> bool:
        return self._row(logo_id) is not None

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some ids, `(n,)`, that are not here, in their order."""
        return logo_ids[np.isin(logo_ids, self.ids[self.alive], invert=True)]

    def vector(self, logo_id: int) -> NDArray[np.float32]:
        """Return the vector of a logo, `(dim,)`; `KeyError` if it is not here."""
        row = self._row(logo_id)
        if row is None:
            raise KeyError(logo_id)
        vector: NDArray[np.float32] = self.vectors[row]
        return vector

    def among(self, logo_ids: NDArray[np.int64]) -> Grown:
        """Return only those logos whose ids are among some, `(m,)`, ascending."""
        places = np.minimum(logo_ids.searchsorted(self.ids), max(0, len(logo_ids) - 1))
        alive = self.alive & (logo_ids[places] == self.ids) if len(logo_ids) else np.zeros(len(self.ids), bool)
        return replace(self, alive=alive)

    def nearest(self, vector: NDArray[np.float32], count: int, *, within: float = math.inf) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` vector, or all; equally near ones in the order of addition.

        Args:
            vector: the query.
            count: number of logos.
            within: logos farther than this may be left out.

        Raises:
            DimensionError, UnusableVectorError, ValueError: as for `SearchIndex.nearest_to_vector`.
        """
        check_count(count)
        query = as_query(vector, self.vectors.shape[1])
        if self.rounded is not None and math.isfinite(within):
            rows = self.rounded.nearer(query, len(self.ids), within)
            rows = rows[self.alive[rows]]
        else:
            rows = np.flatnonzero(self.alive)
        if len(rows) > count:
            rows = self._not_excluded(query, count, rows)
        distances = self._distances(query, rows)
        order = np.argsort(distances, kind="stable")[:count]
        return Neighbours(self.ids[rows[order]].tolist(), distances[order].tolist())

    def _not_excluded(self, query: NDArray[np.float32], count: int, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return those of some rows, ascending, that may be the nearest; see `ExactIndex._candidates` for the bound."""
        unit = np.float32(2.0**-24 * (len(query) + 8))  # of the product, and of the operations around it
        length = np.float32(squared_lengths(query[np.newaxis])[0] ** 0.5)
        few = len(rows) < len(self.ids) // 4  # else to multiply all takes less than to copy some
        lengths = self.lengths[rows]
        products = self.vectors.take(rows, axis=0) @ query if few else (self.vectors @ query)[rows]
        estimate = lengths * lengths - 2 * products
        error = unit * np.square(lengths + length) + np.float32(1e-35)
        furthest = np.partition(estimate + error, count - 1)[count - 1]
        near: NDArray[np.intp] = rows[estimate - error <= furthest]
        return near

    def _distances(self, query: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        differences = self.vectors.take(rows, axis=0).astype(np.float64) - query
        distances: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", differences, differences)).astype(np.float32)
        return distances

    def _row(self, logo_id: int) -> int | None:
        row = self.row_of.get(logo_id)
        if row is not None and row >= len(self.ids):  # it was replaced after this moment
            row = next(iter(np.flatnonzero(self.alive & (self.ids == logo_id)).tolist()), None)
        return row if row is not None and self.alive[row] else None


class GrowingIndex:
    """Logos, to be added one after another. One thread at a time may add.

    Args:
        dim: the number of values in a vector.
        most: how many logos are kept; older ones give way.
    """

    def __init__(self, dim: int, most: int) -> None:
        self._dim = dim
        self._most = most
        self._count = 0
        self._row_of: dict[int, int] = {}
        self._ids = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, dim), np.float32)
        self._alive = np.zeros(0, bool)
        self._lengths = np.zeros(0, np.float32)
        self._rounded: RoundedVectors | None = None

    def __len__(self) -> int:
        return int(np.count_nonzero(self._alive))

    def add(self, logo_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add logos `(n,)` with usable vectors `(n, dim)`; one that is here already gets the new vector."""
        logo_ids, vectors = logo_ids[-self._most :], vectors[-self._most :]
        if self._count + len(logo_ids) > len(self._ids):
            self._make_room(len(logo_ids))
        first, end = self._count, self._count + len(logo_ids)
        alive = self._alive.copy()  # who searches has the former
        self._ids[first:end], self._vectors[first:end], alive[first:end] = logo_ids, vectors, True
        self._lengths[first:end] = np.sqrt(squared_lengths(vectors))
        self._round(first, end)
        for row, logo_id in enumerate(logo_ids.tolist(), first):
            former = self._row_of.get(logo_id)
            if former is not None:
                alive[former] = False
            self._row_of[logo_id] = row
        living = np.flatnonzero(alive)
        alive[living[: max(0, len(living) - self._most)]] = False
        self._alive, self._count = alive, end

    def grown(self) -> Grown:
        """Return the logos that are here now."""
        here = slice(0, self._count)
        return Grown(
            self._ids[here], self._vectors[here], self._alive[here], self._row_of, self._lengths[here], self._rounded
        )

    def _round(self, first: int, end: int) -> None:
        """Round the vectors of new rows; in new arrays, those of all rows."""
        if self._rounded is not None:
            self._rounded.put(first, self._vectors[first:end])
        elif len(self._ids) >= _ROUNDED_FROM and end:
            self._rounded = RoundedVectors(self._vectors[:end], len(self._ids))

    def _make_room(self, more: int) -> None:
        """Move the living logos to new arrays, with room for as many again."""
        kept = np.flatnonzero(self._alive)
        rows = len(kept) + more + max(_LEAST_ROOM, len(kept))
        ids, vectors = np.zeros(rows, np.int64), np.empty((rows, self._dim), np.float32)
        lengths = np.empty(rows, np.float32)
        ids[: len(kept)], vectors[: len(kept)] = self._ids[kept], self._vectors[kept]
        lengths[: len(kept)] = self._lengths[kept]
        self._ids, self._vectors, self._lengths, self._count = ids, vectors, lengths, len(kept)
        self._alive = np.arange(rows) < len(kept)
        self._rounded = None
        self._row_of = {logo_id: row for row, logo_id in enumerate(ids[: len(kept)].tolist())}
