"""The least effort with which an index of lists finds enough, measured on a sample while it is built.

Each sieve may lose some of the true neighbours. So first the scan, then the ranking, then the measuring is tried with
less and less effort, while those behind it do all that they may, until the loss allowed so far is reached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from index.lists.effort import Effort
from index.protocol import SearchIndex
from index.recall import COUNTS, Recall, Truth, recall_of

logger = logging.getLogger(__name__)

TARGETS = {10: 0.99, 100: 0.97}

LEAST_CANDIDATES = 1_000
LEAST_SCANNED, MOST_SCANNED = 100_000, 800_000
"""Logos that a query scans: fewer are not noticed, more take milliseconds."""

_CANDIDATES = LEAST_CANDIDATES, 1_400, 2_000, 2_800, 4_000
_SPARE = 40, 60, 90, 130
_WIDER = 1.2  # lists, from one try to the next
_LOSS_BEHIND = 0.5, 0.75, 1.0  # of the loss that the targets allow, once scan, ranking and measuring are settled


def least_effort(lists: int, logos: int) -> Effort:
    """Return the effort that tuning begins with."""
    return Effort(_share(lists, logos, LEAST_SCANNED), _CANDIDATES[0], _SPARE[0])


def tune(
    truth: Truth,
    with_effort: Callable[[Effort], SearchIndex],
    *,
    lists: int,
    logos: int,
    progress: Callable[[int], None] = lambda _queries: None,
) -> tuple[Effort, Recall | None]:
    """Find the least effort with which an index reaches `TARGETS`, or the most that a query may take.

    Args:
        truth: of logos that are indexed.
        with_effort: gives the index, searching with an effort.
        lists: of the index.
        logos: in the index.
        progress: is told the number of queries just made.

    Returns:
        The effort, and what was measured with it; `None` if no logo could be searched for.
    """
    most = Effort(_share(lists, logos, MOST_SCANNED), _CANDIDATES[-1], _SPARE[-1])
    nearest = truth.of(with_effort(most))

    def found_with(effort: Effort) -> dict[int, float]:
        found = recall_of(with_effort(effort), nearest)
        progress(len(COUNTS) * len(nearest))
        return found

    least = least_effort(lists, logos)
    probed = [least.probed]
    while probed[-1] < most.probed:
        probed.append(min(max(probed[-1] + 1, round(_WIDER * probed[-1])), most.probed))
    effort = most
    for loss, name, steps in zip(
        _LOSS_BEHIND, ("probed", "candidates", "spare"), (probed, _CANDIDATES, _SPARE), strict=True
    ):
        enough = {count: 1 - loss * (1 - target) for count, target in TARGETS.items()}
        effort = _first([replace(effort, **{name: step}) for step in steps], found_with, enough)
    found = found_with(effort)
    if not found:
        logger.warning("recall was not measured: no logo that it was to be measured on can be searched for")
        return effort, None
    recall = Recall(effort.candidates, round(found[10], 4), round(found[100], 4), len(nearest))
    reached = all(found[count] >= target for count, target in TARGETS.items())
    (logger.info if reached else logger.warning)(
        "recall@10 %.3f, recall@100 %.3f: %d of %d lists scanned, %d logos ranked, %d spare vectors measured",
        *(recall.at_10, recall.at_100, effort.probed, lists, effort.candidates, effort.spare),
    )
    return effort, recall


def _first(
    steps: Sequence[Effort], found_with: Callable[[Effort], dict[int, float]], enough: dict[int, float]
) -> Effort:
    """Return the first of ever larger efforts that finds enough; the last one if none does."""
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        found = found_with(steps[middle])
        if all(found.get(count, 0.0) >= share for count, share in enough.items()):
            high = middle
        else:
            low = middle + 1
    return steps[low]


def _share(lists: int, logos: int, scanned: int) -> int:
    """Return how many lists hold about so many logos."""
    return min(lists, max(1, round(lists * scanned / max(1, logos))))
