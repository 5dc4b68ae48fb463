"""Cosine distance on top of engines that measure Euclidean distance.

Vectors are stored as they were given and compared at unit length. For unit vectors a and b, |a - b|² = 2 - 2 cos(a, b),
so Euclidean neighbours are cosine neighbours in the same order, and 1 - cos is half of the squared distance. It runs
from 0, the same direction, to 2, the opposite one. (Elasticsearch's `cosine` score is (1 + cos) / 2, so 1 - score is
half of the distance here.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import UnusableVectorError
from index.protocol import Neighbours, SearchIndex, Vectors
from index.wrapper import IndexWrapper


def has_direction(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of (n, dim) vectors can be compared by cosine, (n,): those that are finite and not all zeros."""
    usable: NDArray[np.bool_] = np.logical_and(np.isfinite(vectors).all(axis=1), (vectors != 0).any(axis=1))
    return usable


def unit_vector(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a (dim,) vector at unit length.

    Raises:
        UnusableVectorError: it is all zeros, or not finite.
    """
    if not has_direction(vector[np.newaxis])[0]:
        raise UnusableVectorError("The vector is all zeros, or not finite: it has no direction to compare.")
    unit: NDArray[np.float32] = unit_rows(vector[np.newaxis])[0]
    return unit


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, dim) vectors at unit length; one without a direction is a row of NaN."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[~has_direction(vectors)] = np.nan
    units: NDArray[np.float32] = (vectors / lengths[:, np.newaxis]).astype(np.float32)
    return units


def at_unit_length(vectors: Vectors) -> Vectors:
    """Return the vectors of the same logos at unit length, for an engine to index and to measure."""
    return lambda logo_ids: unit_rows(vectors(logo_ids))


def cosine_distances(euclidean: ArrayLike) -> NDArray[np.float64]:
    """Return 1 - cos for Euclidean distances between unit vectors, of any shape."""
    return np.square(np.asarray(euclidean, np.float64)) / 2


@dataclass(frozen=True, slots=True)
class CosineIndex(IndexWrapper):
    """A `SearchIndex` of cosine distances, 1 - cos, over an index of the same vectors at unit length.

    Attributes:
        index: searches vectors of unit length by Euclidean distance.
    """

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to an indexed one; see `SearchIndex`."""
        return _by_cosine(self.index.nearest_to_logo(logo_id, count))

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a (dim,) vector of any length but 0; see `SearchIndex`."""
        return _by_cosine(self.index.nearest_to_vector(unit_vector(vector), count))

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that serves the neighbours of some logos in fewer round trips."""
        return CosineIndex(self.index.prefetched(logo_ids, count))


def _by_cosine(found: Neighbours) -> Neighbours:
    return Neighbours(found.logo_ids, cosine_distances(found.distances).tolist())
