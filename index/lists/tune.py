"""Find, during a build, the least effort with which an index of lists reaches its recall, measured on a sample.

Each sieve may lose some of the true neighbours. So the least effort is found for the scan first, then for the ranking,
then for the measuring, each time with the most effort in the sieves that follow. Each sieve may use up a part of what
the targets allow to lose. Where not even the most effort reaches the first targets, as among millions, the second ones
count; and where it hardly reaches these, each sieve may lose a little: else they would be as slow as possible for next
to nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

from index.lists.effort import Effort
from index.protocol import SearchIndex
from index.recall import COUNTS, Truth, recall_of
from index.status import Recall

logger = logging.getLogger(__name__)

TARGETS = {10: 0.99, 100: 0.97}, {10: 0.983, 100: 0.953}
"""Shares of the true neighbours to find; the second are 0.98 and 0.95, and what samples of 200 queries differ by."""

LEAST_SCANNED, MOST_SCANNED = 32_000, 400_000
"""Number of logos that queries scan on average: fewer save no time, more take milliseconds."""

_CANDIDATES = 200, 300, 400, 500, 600, 700, 850, 1_000, 1_200, 1_400, 1_700, 2_000, 2_400, 2_800, 3_300, 4_000
_SPARE = 10, 15, 20, 30, 40, 50, 60, 75, 90, 110, 130, 160, 190, 230, 280
_WIDER = 1.2  # lists, from one try to the next
_LOSS = 0.5, 0.75, 1.0  # share of what may be lost by the scan, then with the ranking, then with the measuring
_LITTLE = 0.006  # of the true neighbours


def least_effort(lists: int, logos: int) -> Effort:
    """Return the effort that tuning begins with."""
    return Effort(_share(lists, logos, LEAST_SCANNED), _CANDIDATES[0], _SPARE[0])


def probed_steps(lists: int, logos: int) -> list[int]:
    """Return the average numbers of lists to try, rising."""
    least, most = (_share(lists, logos, scanned) for scanned in (LEAST_SCANNED, MOST_SCANNED))
    steps = [least]
    while steps[-1] < most:
        steps.append(min(max(steps[-1] + 1, round(_WIDER * steps[-1])), most))
    return steps


def tune(
    truth: Truth,
    with_effort: Callable[[Effort], SearchIndex],
    *,
    lists: int,
    logos: int,
    last: Effort | None = None,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda _queries: None,
) -> tuple[Effort, Recall | None]:
    """Find the least effort with which an index reaches `TARGETS`, the first or the second, or about as much as it can.

    Args:
        truth: of logos that are indexed.
        with_effort: returns the index, searching with an effort.
        lists: number of lists in the index.
        logos: number of logos in the index.
        last: of the index before this one: it is kept if it finds enough in this one, too.
        jobs: threads that search.
        progress: called with the number of queries just made.

    Returns:
        The effort, and the recall measured with it; `None` if no logo could be searched for.
    """
    least = least_effort(lists, logos)
    most = Effort(_share(lists, logos, MOST_SCANNED), _CANDIDATES[-1], _SPARE[-1])
    nearest = truth.of(with_effort(most))

    @cache
    def found_with(effort: Effort, *, at_once: bool = False) -> dict[int, float]:
        found = recall_of(with_effort(effort), nearest, jobs, at_once=at_once)
        progress(len(nearest) if at_once else len(COUNTS) * len(nearest))
        return found

    def wanted_after(loss: float) -> dict[int, float]:
        best = found_with(most, at_once=True)
        targets = next((some for some in TARGETS if _enough(best, some)), TARGETS[-1])
        found = {count: best.get(count, 0.0) for count in targets}
        return {count: of - loss * max(of - targets[count], _LITTLE) for count, of in found.items()}

    last = None if last is None else last.probing(min(last.probed, most.probed))
    if last is not None and _enough(found_with(last), wanted_after(_LOSS[-1])):
        effort = last
    elif _enough(found_with(least), TARGETS[0]):
        effort = least
    else:
        effort = most
        for loss, name, steps in zip(
            _LOSS, ("probed", "candidates", "spare"), (probed_steps(lists, logos), _CANDIDATES, _SPARE), strict=True
        ):
            found_by = partial(found_with, at_once=name != "spare")  # a search for ten measures fewer, ranks no fewer
            effort = _first([replace(effort, **{name: step}) for step in steps], found_by, wanted_after(loss))
    found = found_with(effort)
    if not found:
        logger.warning("recall was not measured: no logo of the sample can be searched for")
        return effort, None
    recall = Recall(effort.candidates, round(found[10], 4), round(found[100], 4), len(nearest))
    say = logger.info if _enough(found, TARGETS[0]) else logger.warning
    say(
        "recall@10 %.3f, recall@100 %.3f: %d of %d lists scanned on average, %d logos ranked, %d spare measured",
        *(recall.at_10, recall.at_100, effort.probed, lists, effort.candidates, effort.spare),
    )
    return effort, recall


def _first(
    steps: Sequence[Effort], found_with: Callable[[Effort], dict[int, float]], wanted: dict[int, float]
) -> Effort:
    """Return the first of these rising efforts that finds enough; the last one if none does."""
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        if _enough(found_with(steps[middle]), wanted):
            high = middle
        else:
            low = middle + 1
    return steps[low]


def _enough(found: dict[int, float], wanted: dict[int, float]) -> bool:
    return all(found.get(count, 0.0) >= share for count, share in wanted.items())


def _share(lists: int, logos: int, scanned: int) -> int:
    """Return how many lists hold about `scanned` logos."""
    return min(lists, max(1, round(lists * scanned / max(1, logos))))
