"""Measure distances on vectors in a store: only measured distances are returned.

More vectors are measured than returned. If the store allows it, only the checksums of returned ones are compared: a
damaged row that looks near is dropped before it is returned, and one that looks far would not be returned anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from index.lists.codes import import_faiss
from index.protocol import Vectors


class UncheckedRows(Protocol):
    """Vectors that were read, but not yet compared with their checksums.

    Attributes:
        vectors: (n, dim) float32; a row of NaN for a logo without a usable vector.
    """

    vectors: NDArray[np.float32]

    def sound(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of the vectors at some places, `(m,)`, are those that were stored."""


@runtime_checkable
class UncheckedVectors(Protocol):
    """`Vectors` that can postpone the comparison of checksums."""

    def unchecked(self, logo_ids: NDArray[np.int64]) -> UncheckedRows:
        """Return the vectors of logos, `(n,)`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Vectors whose distance to a query was measured.

    Attributes:
        squares: (n,) float32, the squared distances; not finite where there is none.
        sound: returns which of the vectors at some places, `(m,)`, are those that were stored.
    """

    squares: NDArray[np.float32]
    sound: Callable[[NDArray[np.intp]], NDArray[np.bool_]]

    def nearest(self, count: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the places of the nearest vectors, and their distances: `count`, unless fewer are sound.

        They are ordered by distance, then place.
        """
        distances = np.sqrt(self.squares)
        order = np.argsort(distances, kind="stable")  # NaN comes last
        nearest = order[:count]
        found = distances[nearest].astype(np.float64)
        if len(nearest) and np.isfinite(found[-1]) and self.sound(nearest).all():
            return nearest, found
        order = order[np.isfinite(distances[order])]
        nearest, start = order[:0], 0
        while start < len(order) and len(nearest) < count:
            some = order[start : start + count - len(nearest)]
            nearest = np.concatenate([nearest, some[self.sound(some)]])
            start += len(some)
        return nearest, distances[nearest].astype(np.float64)


def measure_stored(vectors: Vectors, query: NDArray[np.float32], logo_ids: NDArray[np.int64]) -> Measured:
    """Measure the distances from a `(dim,)` query to the vectors of logos, `(n,)`."""
    if isinstance(vectors, UncheckedVectors):
        rows = vectors.unchecked(logo_ids)
        found, sound = rows.vectors, rows.sound
    else:
        found, sound = vectors(logo_ids), _all_sound
    faiss = import_faiss()
    found, query = np.ascontiguousarray(found, np.float32), np.ascontiguousarray(query, np.float32)
    squares = np.empty(len(found), np.float32)
    pointers = (faiss.swig_ptr(array) for array in (squares, query, found))
    faiss.fvec_L2sqr_ny(*pointers, len(query), len(found))  # in a third of the time that NumPy takes
    return Measured(squares, sound)


def _all_sound(places: NDArray[np.intp]) -> NDArray[np.bool_]:
    return np.ones(len(places), bool)
