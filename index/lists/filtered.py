"""Measure, during a build, the recall of filtered queries, and find how many lists they must scan.

The neighbours among a twentieth of all logos are farther away than those among all, so they lie in more lists. Filters
that let a half, a twentieth and a two-hundredth of the logos through are tried, drawn at random, until recall is that
of unfiltered queries. A query takes the number of lists that was enough for the next smaller share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np

from index.errors import VectorUnavailableError
from index.files.logo_ids import LogoIds
from index.lists.effort import Effort
from index.lists.mask import FEWEST, Mask
from index.protocol import SearchIndex
from index.recall import COUNTS, Truth, recall_of
from index.status import Recall
from index.threads import in_order

logger = logging.getLogger(__name__)

SHARES = 0.5, 0.05, 0.005

_QUERIES = 60  # for shares whose neighbours were not found with those of all logos
_NEAREST_KNOWN = 0.2  # the least share of which enough are among the nearest of all
_SPARE = 400  # vectors measured for each true neighbour list: of those ranked best, none is farther
_CHANCE = 0.003  # recall differs by this much between two draws
_WIDER = 1.5  # lists, from one try to the next


@dataclass(frozen=True, slots=True)
class FilteredRecall:
    """The recall of queries with a filter.

    Attributes:
        share: of all logos that the filter lets through.
        probed: number of lists to scan.
        at_10: share of the true ten nearest that match and are found.
        at_100: of the hundred nearest.
    """

    share: float
    probed: int
    at_10: float
    at_100: float

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and self.probed >= 1 and 0 <= self.at_10 <= 1 and 0 <= self.at_100 <= 1):
            raise ValueError("a recall of filtered queries is out of range")


def filtered_effort(effort: Effort, measured: Sequence[FilteredRecall], share: float, lists: int) -> Effort:
    """Return the effort of a query with a filter.

    Args:
        effort: of a query without one.
        measured: by the build; the smaller the share, the later.
        share: of all logos that the filter lets through.
        lists: number of lists in the index.
    """
    probed = effort.probed
    for known in measured:
        probed = max(probed, known.probed)
        if known.share <= share:
            break
    else:  # rarer than what was measured
        probed = round(probed * max(1.0, (measured[-1].share if measured else 1.0) / share))
    return replace(effort, probed=min(probed, lists))


def measure_filtered(
    masked: Callable[[Mask, Effort], SearchIndex],
    logo_ids: LogoIds,
    truth: Truth,
    effort: Effort,
    unfiltered: Recall,
    *,
    lists: int,
    last: Mapping[float, float] = MappingProxyType({}),
    jobs: int = 1,
    progress: Callable[[int], None] = lambda _queries: None,
) -> tuple[FilteredRecall, ...]:
    """Measure the recall of filtered queries for each of `SHARES` that is worth a mask.

    Args:
        masked: returns the index of the items of a mask, searching with an effort.
        logo_ids: of all items.
        truth: of logos that are indexed.
        effort: of unfiltered queries.
        unfiltered: their recall.
        lists: number of lists in the index.
        last: the share of the lists that the index before this one scans, by the share of the logos; to begin with.
        jobs: threads that search.
        progress: called with the number of queries just made.
    """
    rng = np.random.default_rng(0)
    measured: list[FilteredRecall] = []
    asked = logo_ids.items_of(truth.logo_ids)
    asked = asked[asked >= 0]
    for share in SHARES:
        items = rng.permutation(len(logo_ids))[: round(share * len(logo_ids))]
        if len(items) < FEWEST:
            break
        queries = asked if share >= _NEAREST_KNOWN else asked[:_QUERIES]
        mask = Mask.of(np.union1d(items, queries), len(logo_ids))
        if share >= _NEAREST_KNOWN:
            nearest = truth.of(masked(mask, effort))
        else:
            exact = masked(mask, Effort(lists, mask.count, _SPARE))
            found_by = in_order(partial(_distances, exact), logo_ids.of_items(queries), jobs)
            nearest = {logo_id: found for logo_id, found in found_by if found is not None}
        begin = round(lists * last.get(share, 0.0))
        least = max([effort.probed, begin, *(earlier.probed for earlier in measured)])
        found = _widened(masked, mask, nearest, replace(effort, probed=least), unfiltered, lists, jobs, progress)
        if found is None:
            break
        measured.append(replace(found, share=share))
        logger.info(
            "recall@10 %.3f, recall@100 %.3f where %g %% of the logos match: %d of %d lists scanned",
            *(found.at_10, found.at_100, 100 * share, found.probed, lists),
        )
    return tuple(measured)


def _distances(index: SearchIndex, logo_id: int) -> tuple[int, list[float] | None]:
    """Return a logo and the distances of its neighbours; `None` if its row is damaged, or it was deleted meanwhile."""
    try:
        return logo_id, index.nearest_to_logo(logo_id, max(COUNTS) + 1).distances[1:]
    except VectorUnavailableError:
        return logo_id, None


def _widened(
    masked: Callable[[Mask, Effort], SearchIndex],
    mask: Mask,
    nearest: Mapping[int, Sequence[float]],
    effort: Effort,
    unfiltered: Recall,
    lists: int,
    jobs: int,
    progress: Callable[[int], None],
) -> FilteredRecall | None:
    """Return the recall with as many lists as it takes to reach that of unfiltered queries, or as more improve it."""
    best: FilteredRecall | None = None
    while True:
        found = recall_of(masked(mask, effort), nearest, jobs)
        progress(len(COUNTS) * len(nearest))
        if not found:
            return None
        now = FilteredRecall(mask.count / mask.total, effort.probed, round(found[10], 4), round(found[100], 4))
        if best is not None and now.at_10 + now.at_100 <= best.at_10 + best.at_100:
            return best
        best = now
        enough = now.at_10 >= unfiltered.at_10 - _CHANCE and now.at_100 >= unfiltered.at_100 - _CHANCE
        if enough or effort.probed >= lists:
            return best
        effort = replace(effort, probed=min(lists, max(effort.probed + 1, round(_WIDER * effort.probed))))
