"""Find all near pairs of logos, exactly, without comparing every pair at full length.

The distance of two vectors' principal components is never larger than that of the vectors. So pairs that are far apart
by their first components are ruled out in blocks of matrix products, most others by more components, and only the rest
is measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.map.logo_map import principal_components
from index.protocol import Vectors

MOST_OF_A_LOGO = 200
"""Near pairs of a logo with later ones that are kept: more equal pictures are still joined by these."""

_COARSE, _FINE = 48, 256  # principal components
_ROWS = 512  # of a block
_MEASURED = 2**13  # pairs whose vectors are in memory at once
_ROUNDING = 1e-4  # of squared distances in 32 bits, relative to the squared lengths; and of distances


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
    ids, fine = principal_components(logo_ids, vectors, _FINE)
    points = np.ascontiguousarray(fine[:, :_COARSE])
    halves = np.einsum("ij,ij->i", points, points) * ((1 - _ROUNDING) / 2)
    # |a - b|² <= c² where a·b - |b|²/2 >= (|a|² - c²) / 2: one product, and one comparison.
    lowered = np.hstack([points, -halves[:, np.newaxis]])
    ones = np.ones((_ROWS, 1), points.dtype)
    found = [np.zeros((0, 2), np.int64)]  # places
    for first in range(0, len(ids), _ROWS):
        block = points[first : first + _ROWS]
        nearness = np.hstack([block, ones[: len(block)]]) @ lowered[first:].T
        nearness -= (halves[first : first + _ROWS] - cut_off**2 / 2)[:, np.newaxis]
        for row, near in enumerate(nearness, first):
            found.append(_near_later(fine, row, first + np.flatnonzero(near >= 0), cut_off + _ROUNDING))
        progress(len(block))
    pairs = ids[np.concatenate(found)]
    distances = _distances(pairs, vectors)
    near = distances <= cut_off
    return pairs[near], distances[near]


def _near_later(points: NDArray[np.float32], row: int, others: NDArray[np.int64], cut_off: float) -> NDArray[np.int64]:
    """Return the pairs of a point and later ones among others, (pairs, 2), that are near: the nearest ones, if many."""
    others = others[others > row]
    apart = np.linalg.norm(points.take(others, axis=0) - points[row], axis=1)
    near = np.flatnonzero(apart <= cut_off)
    if len(near) > MOST_OF_A_LOGO:
        near = near[np.argsort(apart[near], kind="stable")[:MOST_OF_A_LOGO]]
    return np.stack([np.full(len(near), row), others[near]], axis=1)


def _distances(pairs: NDArray[np.int64], vectors: Vectors) -> NDArray[np.float64]:
    measured = [np.zeros(0)]
    for first in range(0, len(pairs), _MEASURED):
        some, places = np.unique(pairs[first : first + _MEASURED], return_inverse=True)
        of_some = vectors(some).astype(np.float64)
        one, other = places.reshape(-1, 2).T
        measured.append(np.linalg.norm(of_some[one] - of_some[other], axis=1))
    return np.concatenate(measured)
