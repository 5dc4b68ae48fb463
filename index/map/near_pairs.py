"""Which points attract each other on a map, and how strongly: the affinities of t-SNE.

Each point attracts its nearest neighbours, weighted by a Gaussian that is just wide enough for about `PERPLEXITY` of
them: narrow in dense places, wide in sparse ones (van der Maaten and Hinton 2008, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERPLEXITY = 15.0
"""About how many points attract each one.

With 30, the map of 20,000 logos keeps fewer of the nearest ten (see `index.map.tsne`), and takes twice as long."""

_NEAREST_A_PERPLEXITY = 3  # further away the Gaussian is close to 0
_BISECTIONS = 40
_BLOCK_VALUES = 2**22  # distances that are in memory at once


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs of near points. A pair may occur twice, once from each point's side.

    Attributes:
        others: (n, k), the nearest points to each point.
        weights: (n, k) float32, how strongly the pair attracts each other; their sum is 1/2, because each pair counts
            for both of its points.
    """

    others: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, points: NDArray[np.float32]) -> NearPairs:
        """Find the pairs of two or more `(n, dim)` points."""
        perplexity = min(PERPLEXITY, (len(points) - 1) / _NEAREST_A_PERPLEXITY)
        others, squares = nearest(points, max(1, round(_NEAREST_A_PERPLEXITY * perplexity)))
        weights = _gaussians(squares, max(perplexity, 1.0)) / (2 * len(points))
        return cls(others, weights.astype(np.float32))


def nearest(points: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the `count` nearest points to each of `(n, dim)`, and their squared distances: `(n, count)` both."""
    total = len(points)
    squares = np.einsum("ij,ij->i", points, points)
    others = np.empty((total, count), np.int64)
    found = np.empty((total, count), np.float32)
    block = max(1, _BLOCK_VALUES // total)
    for first in range(0, total, block):
        rows = slice(first, first + block)
        distances = squares - 2 * (points[rows] @ points.T)
        distances[np.arange(len(distances)), np.arange(first, first + len(distances))] = np.inf
        some = np.argpartition(distances, count - 1, axis=1)[:, :count]
        others[rows] = some
        found[rows] = np.take_along_axis(distances, some, axis=1) + squares[rows, np.newaxis]
    return others, np.maximum(found, 0)


def _gaussians(squares: NDArray[np.float32], perplexity: float) -> NDArray[np.float64]:
    """Return Gaussian weights of `(n, k)` squared distances. Each row sums to 1; the widths give the perplexity."""
    distances = squares.astype(np.float64) - squares.min(axis=1, keepdims=True)
    usual = distances.mean(axis=1, keepdims=True)
    distances /= np.where(usual > 0, usual, 1.0)
    low, high = (np.full((len(distances), 1), edge) for edge in (-12.0, 12.0))  # of the logarithm of the precision
    weights: NDArray[np.float64] = np.ones_like(distances)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        weights = np.exp(-distances * np.exp(middle))
        total = weights.sum(axis=1, keepdims=True)
        weights /= total
        entropy = np.log(total) + np.exp(middle) * (weights * distances).sum(axis=1, keepdims=True)
        too_wide = entropy > np.log(perplexity)
        low, high = np.where(too_wide, middle, low), np.where(too_wide, high, middle)
    return weights
