"""How many of the true nearest logos an index finds, measured on a sample while it is built.

The truth comes from the one walk over all vectors that the build makes anyway. Then the index is asked with more and
more effort until it finds what is asked of it; effort and recall go into `index.json`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from index.protocol import SearchIndex
from index.vectors import squared_lengths

logger = logging.getLogger(__name__)

COUNTS = (10, 100)
TARGETS = {10: 0.99, 100: 0.95}
QUERIES = 200

_LEAST_EFFORT = 1_000
_STEP = 1.4  # of the effort, from one try to the next
_MOST_EFFORT = 400_000


@dataclass(frozen=True, slots=True)
class Recall:
    """The share of the true nearest logos that an index finds.

    Attributes:
        search_k: with this effort; see `index.annoy_engine`.
        at_10: of the ten nearest, the logo itself not counted.
        at_100: of the hundred nearest.
        queries: how many logos were asked for.
    """

    search_k: int
    at_10: float
    at_100: float
    queries: int


class Truth:
    """The exact nearest neighbours of a few logos, found block by block.

    Args:
        logo_ids: (q,) of the logos that are asked for.
        vectors: (q, dim) float32.
    """

    def __init__(self, logo_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self.logo_ids = logo_ids
        self._queries = np.ascontiguousarray(vectors, np.float32)
        self._lengths = squared_lengths(self._queries).astype(np.float32)
        self._ids = np.zeros((len(logo_ids), 0), np.int64)
        self._squares = np.zeros((len(logo_ids), 0), np.float32)

    def take_in(self, logo_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Look at `(n, dim)` more vectors."""
        kept = max(COUNTS)
        squares = squared_lengths(vectors).astype(np.float32) - 2 * (self._queries @ vectors.T)
        squares += self._lengths[:, np.newaxis]
        squares[logo_ids == self.logo_ids[:, np.newaxis]] = np.inf  # itself
        if squares.shape[1] > kept:
            places = np.argpartition(squares, kept, axis=1)[:, :kept]
            squares, ids = np.take_along_axis(squares, places, axis=1), logo_ids[places]
        else:
            ids = np.broadcast_to(logo_ids, squares.shape)
        squares, ids = np.hstack([self._squares, squares]), np.hstack([self._ids, ids])
        order = np.argsort(squares, axis=1, kind="stable")[:, :kept]
        self._squares, self._ids = np.take_along_axis(squares, order, axis=1), np.take_along_axis(ids, order, axis=1)

    def recall_of(self, index: SearchIndex) -> dict[int, float]:
        """Ask for the neighbours of each logo; return the share found, for each of `COUNTS`."""
        shares: dict[int, list[float]] = {count: [] for count in COUNTS}
        for logo_id, nearest, squares in zip(self.logo_ids.tolist(), self._ids, self._squares, strict=True):
            real = nearest[np.isfinite(squares)].tolist()
            found = index.nearest_to_logo(logo_id, max(COUNTS) + 1).logo_ids[1:]
            for count in COUNTS:
                true = real[:count]
                shares[count].append(len(set(true).intersection(found[:count])) / len(true) if true else 1.0)
        return {count: fmean(of_count) for count, of_count in shares.items()}


def tune(truth: Truth, with_effort: Callable[[int], SearchIndex]) -> Recall:
    """Find the least effort, `search_k`, with which an index reaches `TARGETS`, and say what it finds with it.

    Args:
        truth: of logos that are indexed.
        with_effort: gives the index, searching with a `search_k`.
    """
    effort = float(_LEAST_EFFORT)
    while True:
        search_k = round(effort)
        index = with_effort(search_k)
        found = truth.recall_of(index)
        enough = all(found[count] >= target for count, target in TARGETS.items())
        if enough or effort * _STEP > _MOST_EFFORT or search_k >= len(index) * 100:
            recall = Recall(search_k, round(found[10], 4), round(found[100], 4), len(truth.logo_ids))
            say = logger.info if enough else logger.warning
            say("recall@10 %.3f, recall@100 %.3f, with search_k %d", recall.at_10, recall.at_100, search_k)
            return recall
        effort *= _STEP
