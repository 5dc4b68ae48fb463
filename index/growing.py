"""Exact search among logos that are added one after another, far quicker than a scan of all their vectors.

For each vector its first principal components are kept, and the length of the rest. By the triangle inequality, the
distance to a query is at least that of the components and the difference of the rests together. So one product of a
small matrix and a vector excludes most logos, and the distances to the others are measured in float64. If vectors have
no components of large variance, more are measured; the result is always exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.protocol import Neighbours
from index.vectors import as_query, check_count, squared_lengths

_COMPONENTS = 64
_FITTED_FROM = 512  # logos: fewer are all measured
_REFITTED_AT = 8  # times as many logos as the components were found from
_FITTED_TO = 4_096  # logos, the newest
_POWER_ROUNDS = 2
_LEAST_ROOM = 64  # rows
_ROUNDING = 2.0**-17  # of the squared lengths: what float32 may be off in a sum of 64 terms (see `index.exact`), twice


@dataclass(frozen=True, slots=True)
class Grown:
    """The logos that were there at one moment. Threads may search it while others are added.

    Attributes:
        ids: (n,) in the order they were added.
        vectors: (n, dim)
        alive: (n,) false for logos that were replaced, or gave way to newer ones.
        row_of: the row of each logo, also of those added since.
        basis: (dim, components) float64, orthonormal; `None` if there are none.
        components: (n, components) float32, of the vectors.
        squares: (n,) squared lengths of the components.
        rests: (n,) lengths of what the vectors have beside the components.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    alive: NDArray[np.bool_]
    row_of: dict[int, int]
    basis: NDArray[np.float64] | None
    components: NDArray[np.float32]
    squares: NDArray[np.float32]
    rests: NDArray[np.float32]

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
        return Grown(self.ids, self.vectors, alive, self.row_of, self.basis, self.components, self.squares, self.rests)

    def nearest(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` vector, or all; equally near ones in the order of addition.

        Raises:
            DimensionError, UnusableVectorError, ValueError: as for `SearchIndex.nearest_to_vector`.
        """
        check_count(count)
        query = as_query(vector, self.vectors.shape[1])
        rows = np.flatnonzero(self.alive)
        if self.basis is not None and len(rows) > 2 * count:
            rows = self._not_excluded(query, rows, count)
        distances = self._distances(query, rows)
        order = np.argsort(distances, kind="stable")[:count]
        return Neighbours(self.ids[rows[order]].tolist(), distances[order].tolist())

    def _not_excluded(self, query: NDArray[np.float32], rows: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """Return those of the rows that may be among the nearest, ascending."""
        assert self.basis is not None
        projected = query.astype(np.float64) @ self.basis
        square, length = float(projected @ projected), float(squared_lengths(query[np.newaxis])[0])
        rest = np.float32(max(0.0, length - square) ** 0.5)
        least = self.squares - 2 * (self.components @ projected.astype(np.float32))
        least += np.float32(square) + np.square(self.rests - rest)
        least[~self.alive] = np.inf
        some = np.argpartition(least, 2 * count - 1)[: 2 * count]
        furthest = float(np.partition(self._distances(query, some), count - 1)[count - 1]) ** 2
        error = np.float32(_ROUNDING) * (self.squares + np.square(self.rests) + np.float32(length))
        return np.flatnonzero(self.alive & (least <= furthest * (1 + 2.0**-20) + error))

    def _distances(self, query: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        differences = self.vectors.take(rows, axis=0).astype(np.float64) - query
        distances: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", differences, differences)).astype(np.float32)
        return distances

    def _row(self, logo_id: int) -> int | None:
        row = self.row_of.get(logo_id)
        return row if row is not None and row < len(self.ids) and self.alive[row] else None


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
        self._basis: NDArray[np.float64] | None = None
        self._fitted_to = 0
        self._row_of: dict[int, int] = {}
        self._ids = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, dim), np.float32)
        self._alive = np.zeros(0, bool)
        self._components = np.zeros((0, min(_COMPONENTS, dim)), np.float32)
        self._squares = self._rests = np.zeros(0, np.float32)

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
        for row, logo_id in enumerate(logo_ids.tolist(), first):
            former = self._row_of.get(logo_id)
            if former is not None:
                alive[former] = False
            self._row_of[logo_id] = row
        living = np.flatnonzero(alive)
        alive[living[: max(0, len(living) - self._most)]] = False
        self._alive, self._count = alive, end
        if end >= max(_FITTED_FROM, _REFITTED_AT * self._fitted_to):
            self._fit()
        elif self._basis is not None:
            self._project(slice(first, end))

    def grown(self) -> Grown:
        """Return the logos that are here now."""
        here = slice(0, self._count)
        return Grown(
            self._ids[here],
            self._vectors[here],
            self._alive[here],
            self._row_of,
            self._basis,
            self._components[here],
            self._squares[here],
            self._rests[here],
        )

    def _make_room(self, more: int) -> None:
        """Move the living logos to new arrays, with room for as many again."""
        kept = np.flatnonzero(self._alive)
        rows = len(kept) + more + max(_LEAST_ROOM, len(kept))
        ids, vectors = np.zeros(rows, np.int64), np.empty((rows, self._dim), np.float32)
        ids[: len(kept)], vectors[: len(kept)] = self._ids[kept], self._vectors[kept]
        self._ids, self._vectors, self._count = ids, vectors, len(kept)
        self._alive = np.arange(rows) < len(kept)
        self._components = np.empty((rows, self._components.shape[1]), np.float32)
        self._squares, self._rests = np.empty(rows, np.float32), np.empty(rows, np.float32)
        self._row_of = {logo_id: row for row, logo_id in enumerate(ids[: len(kept)].tolist())}
        if self._basis is not None:
            self._project(slice(0, len(kept)))

    def _fit(self) -> None:
        """Find the components of the newest logos, by subspace iteration (Halko et al. 2011)."""
        self._fitted_to = self._count
        sample = self._vectors[max(0, self._count - _FITTED_TO) : self._count].astype(np.float64)
        basis = np.random.default_rng(0).standard_normal((self._dim, self._components.shape[1]))
        for _ in range(_POWER_ROUNDS):
            basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
        # Former snapshots keep the arrays of the former basis.
        self._basis = np.ascontiguousarray(basis)
        self._components = np.empty_like(self._components)
        self._squares, self._rests = np.empty_like(self._squares), np.empty_like(self._rests)
        self._project(slice(0, self._count))

    def _project(self, rows: slice) -> None:
        assert self._basis is not None
        vectors = self._vectors[rows].astype(np.float64)
        components = vectors @ self._basis
        squares = np.einsum("ij,ij->i", components, components)
        self._components[rows], self._squares[rows] = components, squares
        self._rests[rows] = np.sqrt(np.maximum(np.einsum("ij,ij->i", vectors, vectors) - squares, 0))
