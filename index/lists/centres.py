"""Find the centres of lists by two-level k-means over the first principal components.

Few long lists hold more of the true neighbours than many short ones that take as long to scan: there is one for about
every `LOGOS_A_LIST` logos. Two levels make k-means quick: it finds as many coarse centres as the root of all, then
divides each of their cells alone (seconds for a thousand centres).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from index.errors import IndexDamagedError

LOGOS_A_LIST = 4_000
LISTED_FROM = 100_000
"""Number of logos from which there are several lists: all of fewer logos are scanned, which is fastest in one list."""

TREES = 12
SAMPLE_A_LIST = 64
"""Logos per list that centres are computed from; k-means needs some tens of points for each centre."""

_COARSE_ROUNDS, _FINE_ROUNDS, _FINAL_ROUNDS = 8, 6, 2
_ROWS_AT_ONCE = 4096


def list_count(logos: int) -> int:
    """Return how many lists an index of this many logos has."""
    return 1 if logos <= LISTED_FROM else max(1, round(logos / LOGOS_A_LIST))


def find_centres(points: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Divide `(n, dim)` points into about `count` lists, and return their centres `(k, dim)`."""
    rng = np.random.default_rng(seed)
    coarse = _lloyd(points, max(1, round(count**0.5)), _COARSE_ROUNDS, rng)
    cells = nearest(points, coarse)
    fine = []
    for cell in range(len(coarse)):
        members = points[cells == cell]
        share = round(count * len(members) / len(points))
        if share:
            fine.append(_lloyd(members, share, _FINE_ROUNDS, rng))
    centres = np.concatenate(fine)
    for _ in range(_FINAL_ROUNDS):
        _move(centres, points)
    return centres


def nearest(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return which centre is nearest to each of `(n, dim)` points: `(n,)`."""
    halves = np.einsum("ij,ij->i", centres, centres) / 2
    found = np.empty(len(points), np.int64)
    for start in range(0, len(points), _ROWS_AT_ONCE):
        block = points[start : start + _ROWS_AT_ONCE]
        found[start : start + len(block)] = (block @ centres.T - halves).argmax(axis=1)
    return found


def _lloyd(points: NDArray[np.float32], count: int, rounds: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Run Lloyd's algorithm (1982) from centres that are points; a centre without nearest points stays where it is."""
    centres = points[rng.choice(len(points), min(count, len(points)), replace=False)]
    for _ in range(rounds):
        _move(centres, points)
    return centres


def _move(centres: NDArray[np.float32], points: NDArray[np.float32]) -> None:
    """Move each centre to the mean of the points nearest to it."""
    found = nearest(points, centres)
    sizes = np.bincount(found, minlength=len(centres))
    used = np.flatnonzero(sizes)
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(points[np.argsort(found, kind="stable")], starts[used], axis=0)
    centres[used] = sums / sizes[used, np.newaxis]


class Centres:
    """The centres of an index, from Annoy's file, in the order of their lists.

    A query is compared with all of them: that takes a fifth of the time of a search in Annoy's trees, and says how far
    they are.

    Args:
        path: the file, already checked.
        dim: components of a centre.

    Raises:
        IndexDamagedError: it cannot be loaded.
    """

    def __init__(self, path: Path, dim: int) -> None:
        annoy = AnnoyIndex(dim, "euclidean")
        try:
            annoy.load(str(path))
        except OSError as error:
            raise IndexDamagedError(f"{path} cannot be loaded: {error}") from error
        self._centres = np.array([annoy.get_item_vector(item) for item in range(annoy.get_n_items())], np.float32)
        self._squares = np.vecdot(self._centres, self._centres)
        annoy.unload()

    @staticmethod
    def write(path: Path, centres: NDArray[np.float32], *, trees: int, seed: int | None, jobs: int) -> None:
        """Write Annoy's file of `(k, dim)` centres; it is not synced."""
        annoy = AnnoyIndex(centres.shape[1], "euclidean")
        if seed is not None:
            annoy.set_seed(seed)
        for number, centre in enumerate(centres):
            annoy.add_item(number, centre.data)
        annoy.build(trees, jobs)
        annoy.save(str(path))
        annoy.unload()

    def __len__(self) -> int:
        return len(self._centres)

    def nearest(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return all lists, nearest first, and their squared distances, for each of `(n, dim)` queries."""
        squares = self._squares - 2 * (queries @ self._centres.T) + np.vecdot(queries, queries)[:, np.newaxis]
        order = np.argsort(squares, axis=1)
        return order, np.take_along_axis(squares, order, axis=1)
