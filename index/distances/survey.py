"""Survey the distances between the logos of a new index: how far apart they are, and which are nearly the same.

All pairs of a small sample say how far apart any two logos are, and a search for each of them how far the nearest one
is. Near pairs are nearer than a cut-off. Up to `ALL_PAIRS_OF` logos, all of them are found. Of a larger index, a sample
is searched for, and a pair is found if one of its two logos is in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.distances.all_pairs import all_near_pairs
from index.distances.survey_file import NearPairs, Survey, write_survey
from index.errors import VectorUnavailableError
from index.map.logo_map import sampled
from index.protocol import Neighbours, SearchIndex, Vectors
from index.stage import Stage
from index.vectors import usable_rows

logger = logging.getLogger(__name__)

ALL_PAIRS_OF = 100_000
"""Logos of which all pairs are compared: 9 seconds of one core for 20,000, a few minutes for the most."""

SEARCHED = 20_000
"""Logos of a larger index that are searched for: a minute of work."""

NEAREST = 10
"""Neighbours of each. Of more equal pictures, each is paired with the first ones, which joins them all."""

CUT_OFF = 0.35
"""The largest distance of a near pair, as a share of the median distance of any two logos."""

_AT_ONCE = 64  # logos that are searched for together
_COMPARED = 512  # logos whose distances of any two are measured: 130,816 pairs
_MOST_PAIRS = 100_000  # near pairs that are kept, the nearest ones
_PERCENT = np.arange(101)


def add_survey(
    directory: Path, index: SearchIndex, logo_ids: NDArray[np.int64], vectors: Vectors, *, searched: int, stage: Stage
) -> None:
    """Measure the distances between the logos of an index, and write them to its directory.

    Args:
        directory: of the index.
        index: holds the logos.
        logo_ids: (n,) of the logos in it.
        vectors: returns their vectors.
        searched: see `survey`.
        stage: shows progress.
    """
    compared = len(logo_ids) if len(logo_ids) <= ALL_PAIRS_OF else min(len(logo_ids), searched)
    with stage("measuring distances", compared) as advance:
        found = survey(index, logo_ids, vectors, searched=searched, progress=advance)
    write_survey(directory, found)
    logger.info("%d pairs of logos are nearer than %.3g", len(found.pairs.distances), found.cut_off)


def survey(
    index: SearchIndex,
    logo_ids: NDArray[np.int64],
    vectors: Vectors,
    *,
    searched: int = SEARCHED,
    all_pairs_of: int = ALL_PAIRS_OF,
    progress: Callable[[int], None] = lambda _logos: None,
) -> Survey:
    """Measure the distances between indexed logos.

    Args:
        index: holds the logos.
        logo_ids: (n,) of the logos in it.
        vectors: returns their vectors.
        searched: how many logos of a larger index to search for, at most.
        all_pairs_of: up to how many logos all pairs are compared.
        progress: called with the number of logos just compared; it is at most that of the logos in all.
    """
    sample = sampled(logo_ids, _COMPARED)
    any_two = _distances_of_any_two(sample, vectors)
    cut_off = CUT_OFF * float(np.median(any_two)) if len(any_two) else 0.0
    nearest = [near.distances[0] for _, near in _searched(index, sample, 1) if near.distances]
    if len(logo_ids) <= all_pairs_of:
        compared = len(logo_ids)
        pairs = NearPairs(*all_near_pairs(logo_ids, vectors, cut_off, progress))
    else:
        asked = sampled(logo_ids, searched)
        compared = len(asked)
        pairs = _pairs_among_neighbours(index, asked, cut_off, progress)
    return Survey(
        any_two=_percentiles(any_two),
        nearest=_percentiles(np.array(nearest)),
        searched=compared,
        cut_off=cut_off,
        pairs=_kept(pairs),
    )


def _searched(index: SearchIndex, logo_ids: NDArray[np.int64], count: int) -> Iterator[tuple[int, Neighbours]]:
    """Yield logos with their nearest other ones; those without a usable vector are skipped."""
    for first in range(0, len(logo_ids), _AT_ONCE):
        some = logo_ids[first : first + _AT_ONCE].tolist()
        found = index.prefetched(some, count + 1)
        for logo_id in some:
            with suppress(KeyError, VectorUnavailableError):
                yield logo_id, found.nearest_to_logo(logo_id, count + 1).without(logo_id, count)


def _pairs_among_neighbours(
    index: SearchIndex, logo_ids: NDArray[np.int64], cut_off: float, progress: Callable[[int], None]
) -> NearPairs:
    pairs: dict[tuple[int, int], float] = {}
    for logo_id, near in _searched(index, logo_ids, NEAREST):
        progress(1)
        for other, distance in zip(near.logo_ids, near.distances, strict=True):
            if distance <= cut_off:
                pairs[min(logo_id, other), max(logo_id, other)] = distance
    return NearPairs(np.array([*pairs], np.int64).reshape(-1, 2), np.array([*pairs.values()], np.float64))


def _distances_of_any_two(logo_ids: NDArray[np.int64], vectors: Vectors) -> NDArray[np.float64]:
    """Return the distances of all pairs of logos, (pairs,)."""
    some = vectors(logo_ids)
    some = some[usable_rows(some)].astype(np.float64)
    lengths = np.einsum("ij,ij->i", some, some)
    squares = lengths[:, np.newaxis] + lengths - 2 * (some @ some.T)
    of_pairs: NDArray[np.float64] = np.sqrt(np.maximum(squares[np.triu_indices(len(some), 1)], 0))
    return of_pairs


def _percentiles(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.percentile(distances, _PERCENT) if len(distances) else np.zeros(0)


def _kept(pairs: NearPairs) -> NearPairs:
    """Return the nearest of some pairs, in order, each with the smaller id first."""
    ids = np.sort(pairs.logo_ids, axis=1)
    order = np.lexsort((ids[:, 1], ids[:, 0], pairs.distances))[:_MOST_PAIRS]
    return NearPairs(ids[order], pairs.distances[order])
