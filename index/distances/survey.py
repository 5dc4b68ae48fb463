"""Survey the distances between the logos of a new index: how far apart they are, and which are nearly the same.

Two samples are drawn by the logos' ids. All pairs of a small one say how far apart any two logos are. Each logo of a
large one is searched for in the index: its nearest neighbours say how far the nearest logo is, and those nearer than a
cut-off are kept as near pairs. If the index has more logos than the large sample, a pair is found if one of its two
logos is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from index.distances.survey_file import NearPairs, Survey
from index.errors import VectorUnavailableError
from index.map.logo_map import sampled
from index.protocol import SearchIndex, Vectors
from index.vectors import usable_rows

SEARCHED = 20_000
"""Logos that are searched for: a few seconds of work."""

NEAREST = 10
"""Neighbours of each. Of more equal pictures, each is paired with the first ones, which joins them all."""

CUT_OFF = 0.35
"""The largest distance of a near pair, as a share of the median distance of any two logos."""

_COMPARED = 512  # logos whose distances of any two are measured: 130,816 pairs
_MOST_PAIRS = 100_000  # near pairs that are kept, the nearest ones
_PERCENT = np.arange(101)


def survey(
    index: SearchIndex,
    logo_ids: NDArray[np.int64],
    vectors: Vectors,
    *,
    searched: int = SEARCHED,
    progress: Callable[[int], None] = lambda _logos: None,
) -> Survey:
    """Measure the distances between indexed logos.

    Args:
        index: holds the logos.
        logo_ids: (n,) of the logos in it.
        vectors: returns their vectors.
        searched: how many logos to search for, at most.
        progress: called with the number of logos just searched for.
    """
    any_two = _distances_of_any_two(sampled(logo_ids, _COMPARED), vectors)
    cut_off = CUT_OFF * float(np.median(any_two)) if len(any_two) else 0.0
    asked = sampled(logo_ids, searched)
    nearest: list[float] = []
    pairs: dict[tuple[int, int], float] = {}
    for logo_id in asked.tolist():
        progress(1)
        with suppress(KeyError, VectorUnavailableError):
            found = index.nearest_to_logo(logo_id, NEAREST + 1).without(logo_id, NEAREST)
            nearest += found.distances[:1]
            for other, distance in zip(found.logo_ids, found.distances, strict=True):
                if distance > cut_off:
                    break
                pairs[min(logo_id, other), max(logo_id, other)] = distance
    return Survey(
        any_two=_percentiles(any_two),
        nearest=_percentiles(np.array(nearest)),
        searched=len(asked),
        cut_off=cut_off,
        pairs=_kept(pairs),
    )


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


def _kept(pairs: dict[tuple[int, int], float]) -> NearPairs:
    ids = np.array([*pairs], np.int64).reshape(-1, 2)
    distances = np.array([*pairs.values()], np.float64)
    order = np.lexsort((ids[:, 1], ids[:, 0], distances))[:_MOST_PAIRS]
    return NearPairs(ids[order], distances[order])
