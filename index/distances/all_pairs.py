"""Find all near pairs of logos, exactly, without comparing every pair at full length.

The distance of two vectors' principal components is never larger than that of the vectors. So pairs that are far apart
by their components are ruled out in blocks of matrix products, and only the rest is measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.map.logo_map import principal_components
from index.protocol import Vectors

MOST_OF_A_LOGO = 50
"""Pairs of a logo with later ones that are measured: more equal pictures are still joined by these."""

_ROWS = 512  # of a block
_MEASURED = 2**13  # pairs whose vectors are in memory at once
_ROUNDING = 1e-4  # of squared distances in 32 bits, relative to the squared lengths


def all_near_pairs(
    logo_ids: NDArray[np.int64],
    vectors: Vectors,
    cut_off: float,
    progress: Callable[[int], None] = lambda _logos: None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs of logos that are at most `cut_off` apart: ids (pairs, 2), and distances (pairs,).

    Args:
        logo_ids: (n,) of the logos.
        vectors: returns their vectors.
        cut_off: the largest distance.
        progress: called with the number of logos just compared with all later ones.
    """
    ids, points = principal_components(logo_ids, vectors)
    squares = np.einsum("ij,ij->i", points, points)
    found = [np.zeros((0, 2), np.int64)]
    for first in range(0, len(ids), _ROWS):
        block = points[first : first + _ROWS]
        apart = squares[first : first + _ROWS, np.newaxis] + squares[first:] - 2 * (block @ points[first:].T)
        apart -= _ROUNDING * (squares[first : first + _ROWS, np.newaxis] + squares[first:])
        apart[np.tril_indices(len(block), 0, apart.shape[1])] = np.inf
        found.append(ids[first + np.stack(_nearest_within(apart, cut_off**2), axis=1)])
        progress(len(block))
    pairs = np.concatenate(found)
    distances = _distances(pairs, vectors)
    near = distances <= cut_off
    return pairs[near], distances[near]


def _nearest_within(squares: NDArray[np.float32], largest: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the smallest values of each row, `MOST_OF_A_LOGO` at most, up to the largest."""
    if squares.shape[1] > MOST_OF_A_LOGO:
        crowded = np.flatnonzero(np.count_nonzero(squares <= largest, axis=1) > MOST_OF_A_LOGO)
        for row in crowded:
            squares[row, np.argpartition(squares[row], MOST_OF_A_LOGO)[MOST_OF_A_LOGO:]] = np.inf
    rows, columns = np.nonzero(squares <= largest)
    return rows, columns


def _distances(pairs: NDArray[np.int64], vectors: Vectors) -> NDArray[np.float64]:
    measured = [np.zeros(0)]
    for first in range(0, len(pairs), _MEASURED):
        some, places = np.unique(pairs[first : first + _MEASURED], return_inverse=True)
        of_some = vectors(some).astype(np.float64)
        one, other = places.reshape(-1, 2).T
        measured.append(np.linalg.norm(of_some[one] - of_some[other], axis=1))
    return np.concatenate(measured)
