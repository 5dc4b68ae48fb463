"""The effort that is chosen is the least that finds enough."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import VectorUnavailableError
from index.exact import ExactIndex
from index.lists.effort import Effort
from index.lists.tune import LEAST_SCANNED, MOST_SCANNED, TARGETS, least_effort, probed_steps, tune
from index.protocol import Neighbours
from index.recall import Truth, recall_of
from tests.index.lists.samples import logos_of

LOGOS = logos_of(1500)
LISTS = 40
EXACT = ExactIndex(*LOGOS)


class Losing(ExactIndex):
    """Exact search that loses a share of the neighbours, but none of the first few."""

    def __init__(self, lost: float, sure: int = 0) -> None:
        super().__init__(*LOGOS)
        self._lost, self._sure = lost, sure

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        rng = np.random.default_rng(logo_id)
        near = super().nearest_to_logo(logo_id, count + 60)
        found = (rng.random(count + 59) >= self._lost) | (np.arange(count + 59) < self._sure)
        left = [0, *(1 + np.flatnonzero(found)).tolist()][:count]
        return Neighbours([near.logo_ids[place] for place in left], [near.distances[place] for place in left])


def truth() -> Truth:
    truth = Truth(LOGOS[0][:60], LOGOS[1][:60])
    truth.take_in(*LOGOS)
    return truth


def tuned(lost: Callable[[Effort], float], sure: int = 0) -> tuple[Effort, dict[int, float]]:
    effort, recall = tune(truth(), lambda effort: Losing(lost(effort), sure), lists=LISTS, logos=4_000_000)
    assert recall is not None
    return effort, {10: recall.at_10, 100: recall.at_100}


def test_the_least_effort_is_kept_if_it_finds_enough() -> None:
    assert tuned(lambda _: 0.0) == (least_effort(LISTS, 4_000_000), {10: 1.0, 100: 1.0})


@pytest.mark.parametrize("sieve", ["probed", "candidates", "spare"])
def test_the_sieve_that_loses_neighbours_is_the_one_that_is_widened(sieve: str) -> None:
    least, needed = least_effort(LISTS, 4_000_000), {"probed": 3, "candidates": 2000, "spare": 90}[sieve]

    effort, found = tuned(lambda effort: 0.0 if getattr(effort, sieve) >= needed else 0.1)

    assert all(found[count] >= target for count, target in TARGETS[0].items())
    assert getattr(effort, sieve) == needed
    assert all(
        getattr(effort, other) == getattr(least, other) for other in ("probed", "candidates", "spare") if other != sieve
    )


@pytest.mark.parametrize("enough", [True, False])
def test_the_last_effort_is_kept_while_it_finds_enough(enough: bool) -> None:
    last, tried = Effort(3, 2000, 90), []

    def with_effort(effort: Effort) -> Losing:
        tried.append(effort)
        return Losing(0.0 if effort.candidates >= (1000 if enough else 2400) else 0.1)

    effort, recall = tune(truth(), with_effort, lists=LISTS, logos=4_000_000, last=last)

    assert recall is not None
    assert (effort == last) is enough
    assert recall.at_100 >= TARGETS[0][100]
    assert (len(tried) <= 3) is enough


def test_no_more_lists_are_probed_than_a_query_may_scan() -> None:
    effort, _ = tune(truth(), lambda _: EXACT, lists=LISTS, logos=4_000_000, last=Effort(LISTS, 500, 20))
    assert effort == Effort(LISTS * MOST_SCANNED // 4_000_000, 500, 20)


def test_what_cannot_be_reached_takes_as_much_as_helps(caplog: pytest.LogCaptureFixture) -> None:
    most = LISTS * MOST_SCANNED // 4_000_000

    effort, found = tuned(lambda effort: 0.1 if effort.probed >= most and effort.candidates >= 1_700 else 0.2)

    assert 0.85 < found[100] < 0.95
    assert effort == Effort(most, 1_700, least_effort(LISTS, 4_000_000).spare)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_where_the_first_targets_are_out_of_reach_the_second_ones_are_enough() -> None:
    def lost(effort: Effort) -> float:
        return 0.04 if effort.candidates >= 2_400 else 0.05 if effort.candidates >= 1_200 else 0.2

    effort, found = tuned(lost, sure=10)

    assert effort == replace(least_effort(LISTS, 4_000_000), candidates=1_200)
    assert TARGETS[1][100] <= found[100] < TARGETS[0][100]


def test_few_logos_are_all_scanned() -> None:
    assert least_effort(25, LEAST_SCANNED).probed == 25
    assert least_effort(LISTS, 4_000_000).probed == 1


def test_the_numbers_of_lists_to_try_rise_from_the_least_to_the_most() -> None:
    steps = probed_steps(1000, 4_000_000)
    assert (steps[0], steps[-1]) == (LEAST_SCANNED // 4_000, MOST_SCANNED // 4_000)
    assert all(1 < later / earlier <= 1.25 for earlier, later in pairwise(steps))
    assert probed_steps(1, 50_000) == [1]


def test_as_far_is_as_near_for_neighbours_that_are_equally_far() -> None:
    vectors = np.repeat(LOGOS[1][:100], 15, axis=0)  # of each logo's ten nearest, any of fourteen will do
    known = Truth(LOGOS[0][:60], vectors[:60])
    known.take_in(LOGOS[0], vectors)
    index = ExactIndex(LOGOS[0][::-1], vectors[::-1])  # finds others first
    assert recall_of(index, known.of(index)) == {10: 1.0, 100: 1.0}


def test_recall_that_cannot_be_measured_is_not() -> None:
    class Lost(ExactIndex):
        def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
            raise VectorUnavailableError("gone")

    assert tune(truth(), lambda _: Lost(*LOGOS), lists=1, logos=1500)[1] is None


def test_effort_grows_with_the_number_of_neighbours() -> None:
    effort = Effort(probed=10, candidates=1000, spare=40)
    assert [effort.candidates_for(count) for count in (1, 100, 500)] == [1000, 1000, 5000]
    assert Effort(1, 1, 40).candidates_for(100) == 145  # as many as are measured
    assert [effort.measured_for(count) for count in (1, 100, 500)] == [41, 145, 565]
    assert effort.with_candidates(2000) == Effort(20, 2000, 80)
    assert effort.with_candidates(10) == Effort(1, 10, 1)


def distances(logos: NDArray[np.int64]) -> list[list[float]]:
    return [EXACT.nearest_to_logo(int(logo_id), 101).distances[1:] for logo_id in logos]


def test_the_truth_is_that_of_exact_search() -> None:
    known = truth().of(EXACT)
    for logo_id, exact in zip(known, distances(LOGOS[0][:60]), strict=True):
        assert known[logo_id] == pytest.approx(exact, rel=1e-2)
        assert (np.array(known[logo_id]) >= np.array(exact)).all()
