"""Distances measured on the vectors themselves, wherever these are kept: the only ones that are answered.

More vectors are measured than answered. Where it can be put off, checksums are compared for the answered ones alone: a
damaged row that looks near is dropped before it is answered, and one that looks far would not be answered anyway.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from index.protocol import Vectors


class UncheckedRows(Protocol):
    """Vectors that were read, and whose checksums were not compared yet.

    Attributes:
        vectors: (n, dim) float32; a row of NaN for a logo whose vector cannot be had.
    """

    vectors: NDArray[np.float32]

    def sound(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of the vectors at some places, `(m,)`, are those that were stored."""


@runtime_checkable
class UncheckedVectors(Protocol):
    """What `Vectors` also are, if they can put off the comparison of checksums."""

    def unchecked(self, logo_ids: NDArray[np.int64]) -> UncheckedRows:
        """Return the vectors of logos, `(n,)`."""


def nearest_rows(
    vectors: Vectors, query: NDArray[np.float32], logo_ids: NDArray[np.int64], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the places of the logos, `(n,)`, that are nearest to a `(dim,)` query, and their distances.

    They are ordered by distance, then place: `count` of them or more, unless fewer vectors can be had.
    """
    rows = vectors.unchecked(logo_ids) if isinstance(vectors, UncheckedVectors) else _CheckedRows(vectors(logo_ids))
    with np.errstate(over="ignore", invalid="ignore"):  # a damaged row may hold anything
        differences = rows.vectors - query
        distances = np.sqrt(np.vecdot(differences, differences)).astype(np.float64)
    order = np.lexsort((np.arange(len(distances)), distances))
    order = order[np.isfinite(distances[order])]
    nearest, start = order[:0], 0
    while start < len(order) and len(nearest) < count:
        some = order[start : start + count - len(nearest)]
        nearest = np.concatenate([nearest, some[rows.sound(some)]])
        start += len(some)
    return nearest, distances[nearest]


class _CheckedRows:
    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors

    def sound(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        return np.ones(len(places), bool)
