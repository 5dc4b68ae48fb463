"""Measure, during a build, how many of the true nearest logos an index finds for a sample.

The true neighbours come from the one pass over all vectors that the build makes anyway. Then the index is searched with
increasing effort until its recall is high enough. Effort and recall are stored in `index.json`.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from index.errors import VectorUnavailableError
from index.protocol import SearchIndex
from index.status import Recall
from index.threads import in_order
from index.vectors import squared_lengths

logger = logging.getLogger(__name__)

COUNTS = (10, 100)
TARGETS = {10: 0.99, 100: 0.95}
QUERIES = 200

_ROUNDING = 2.0**-20  # of squared distances computed from products in 32 bits, relative to the squared lengths
_KEPT = 150  # neighbours: 50 beyond the hundred, because some may be deleted before the next build
_LEAST_EFFORT = 1_000
_STEP = 1.4  # factor of the effort, from one try to the next
_MOST_EFFORT = 100_000  # takes Annoy about 12 ms; twice as much finds 0.01 more of the nearest of millions of logos


@dataclass(frozen=True, slots=True)
class Compared:
    """The nearest of some vectors to each logo of a `Truth`.

    Attributes:
        nearest: (q, m) their ids.
        squares: (q, m) float32, the squared distances to them.
    """

    nearest: NDArray[np.int64]
    squares: NDArray[np.float32]


class Truth:
    """The exact nearest neighbours of a few logos (except for rounding in 32 bits), found block by block.

    Args:
        logo_ids: (q,) of the logos to find neighbours of.
        queries: (q, dim) float32, their vectors.
        nearest: (q, m) neighbours found before, nearest first; none by default.
        squares: (q, m) the squared distances to them.
    """

    def __init__(
        self,
        logo_ids: NDArray[np.int64],
        queries: NDArray[np.float32],
        nearest: NDArray[np.int64] | None = None,
        squares: NDArray[np.float32] | None = None,
    ) -> None:
        self.logo_ids = logo_ids
        self.queries = np.ascontiguousarray(queries, np.float32)
        self.nearest = np.zeros((len(logo_ids), 0), np.int64) if nearest is None else nearest
        self.squares = np.zeros((len(logo_ids), 0), np.float32) if squares is None else squares
        self._lengths = squared_lengths(self.queries).astype(np.float32)

    def take_in(self, logo_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Compare with `(n, dim)` more vectors."""
        self.merge(self.compared(logo_ids, vectors))

    def compared(self, logo_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> Compared:
        """Return the nearest of `(n, dim)` vectors to each logo, for `merge`. Threads may do this at the same time."""
        squares = np.vecdot(vectors, vectors) - 2 * (self.queries @ vectors.T)
        squares += self._lengths[:, np.newaxis]
        squares[logo_ids == self.logo_ids[:, np.newaxis]] = np.inf  # itself
        if squares.shape[1] > _KEPT:
            places = np.argpartition(squares, _KEPT, axis=1)[:, :_KEPT]
            squares, ids = np.take_along_axis(squares, places, axis=1), logo_ids[places]
        else:
            ids = np.broadcast_to(logo_ids, squares.shape)
        return Compared(ids, squares)

    def merge(self, more: Compared) -> None:
        """Keep the nearest of those known and some that were compared."""
        squares, ids = np.hstack([self.squares, more.squares]), np.hstack([self.nearest, more.nearest])
        order = np.argsort(squares, axis=1, kind="stable")[:, :_KEPT]
        self.squares, self.nearest = np.take_along_axis(squares, order, axis=1), np.take_along_axis(ids, order, axis=1)

    def forget(self, logo_ids: NDArray[np.int64]) -> None:
        """Drop logos whose vectors have changed."""
        self.squares = np.where(np.isin(self.nearest, logo_ids), np.inf, self.squares).astype(np.float32)
        order = np.argsort(self.squares, axis=1, kind="stable")
        left = ~np.isin(self.logo_ids, logo_ids)
        self.squares = np.take_along_axis(self.squares, order, axis=1)[left]
        self.nearest = np.take_along_axis(self.nearest, order, axis=1)[left]
        self.logo_ids, self.queries, self._lengths = self.logo_ids[left], self.queries[left], self._lengths[left]

    def of(self, index: SearchIndex) -> dict[int, list[float]]:
        """Return the distances of the nearest neighbours of each logo, without logos that the index no longer holds.

        A distance is rounded up by as much as floating point may have rounded it down.
        """
        asked = np.concatenate([self.logo_ids, self.nearest[np.isfinite(self.squares)]])
        absent = index.absent(np.unique(asked))
        held = np.isfinite(self.squares) & ~np.isin(self.nearest, absent)
        rounding = _ROUNDING * (self.squares + 4 * self._lengths[:, np.newaxis])
        distances = np.sqrt(np.maximum(self.squares, 0) + rounding)
        return {
            logo_id: of_logo[of_logo_held][: max(COUNTS)].tolist()
            for logo_id, of_logo, of_logo_held in zip(self.logo_ids.tolist(), distances, held, strict=True)
            if logo_id not in absent
        }


def recall_of(
    index: SearchIndex, truth: Mapping[int, Sequence[float]], jobs: int = 1, *, at_once: bool = False
) -> dict[int, float]:
    """Search an index for the neighbours of logos; return the share of the true ones found, for each of `COUNTS`.

    A neighbour that is no farther than the last true one counts as true, because several may be equally far. A logo
    without a usable vector is skipped.

    Args:
        index: is searched once for each logo and count.
        truth: the distances of the true neighbours of each logo, nearest first; see `Truth.of`.
        jobs: threads that search.
        at_once: whether to search once for each logo, for the largest count, and to take the nearest for the others.
            That is quicker, but a search for fewer may find less.
    """
    share = partial(_shares, index, at_once=at_once)
    shares = [found for found in in_order(share, truth.items(), jobs) if found is not None]
    return {count: fmean(of_count) for count, of_count in zip(COUNTS, zip(*shares, strict=True), strict=False)}


def _shares(index: SearchIndex, of_logo: tuple[int, Sequence[float]], *, at_once: bool) -> tuple[float, ...] | None:
    """Return the share of the true neighbours of a logo found, for each of `COUNTS`; `None` without its vector."""
    logo_id, true = of_logo
    counts = COUNTS[-1:] if at_once else COUNTS
    try:
        answers = [index.nearest_to_logo(logo_id, count + 1).distances[1:] for count in counts]
    except VectorUnavailableError:
        return None
    return tuple(_share(answers[0 if at_once else place][:count], true[:count]) for place, count in enumerate(COUNTS))


def _share(found: Sequence[float], true: Sequence[float]) -> float:
    """Return the share of the true distances found, both nearest first; 1 if there are none."""
    return min(bisect_right(found, true[-1]), len(true)) / len(true) if true else 1.0


def tune(
    truth: Truth, with_effort: Callable[[int], SearchIndex], least: int = _LEAST_EFFORT, most: int = _MOST_EFFORT
) -> Recall | None:
    """Find the least effort, `search_k`, with which an index reaches `TARGETS`, and return its recall.

    Args:
        truth: of logos that are indexed.
        with_effort: returns the index, searching with a `search_k`.
        least: the effort to begin with.
        most: the largest effort to try.

    Returns:
        The recall; `None` if no logo could be searched for.
    """
    effort = float(least)
    nearest = truth.of(with_effort(least))
    while True:
        search_k = round(effort)
        index = with_effort(search_k)
        found = recall_of(index, nearest)
        if not found:
            logger.warning("recall was not measured: no logo of the sample can be searched for")
            return None
        enough = all(found[count] >= target for count, target in TARGETS.items())
        if enough or effort * _STEP > most:
            recall = Recall(search_k, round(found[10], 4), round(found[100], 4), len(nearest))
            say = logger.info if enough else logger.warning
            say("recall@10 %.3f, recall@100 %.3f, with search_k %d", recall.at_10, recall.at_100, search_k)
            return recall
        effort *= _STEP
