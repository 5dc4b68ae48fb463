"""Neighbours vote with 1/distance, as Robotoff's do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.votes import Voter, predict, vote_weights
from tests.properties import examples


def test_shares_are_the_sums_of_one_by_distance() -> None:
    found = predict([1, 2, 3, 4], [0.5, 1, 2, 4], {1: "a", 2: "b", 4: "b"})
    total = 2 + 1 + 0.5 + 0.25
    assert found.shares == pytest.approx({"a": 2 / total, "b": 1.25 / total, None: 0.5 / total})
    assert [*found.shares] == ["a", "b", None]
    assert found.value == "a"
    assert found.confidence == pytest.approx(2 / total)
    assert found.deciders == [Voter(1, 0.5, "a", found.confidence)]


def test_many_far_voters_outvote_a_near_one_and_are_the_deciders() -> None:
    found = predict([9, 7, 8, 6], [4, 3, 2, 1.5], {6: "near", 7: "far", 8: "far", 9: "far"})
    assert found.value == "far"
    assert [voter.logo_id for voter in found.deciders] == [8, 7, 9]


def test_a_distance_of_zero_takes_the_vote() -> None:
    found = predict([1, 2, 3], [0, 1e-30, 1e-30], {1: "a", 2: "b", 3: "b"})
    assert found.shares == {"a": 1.0}
    assert [voter.logo_id for voter in found.deciders] == [1]


def test_several_at_distance_zero_share_it() -> None:
    assert predict([1, 2, 3, 4], [0, 0, 0, 1], {1: "a", 2: "a", 3: "b"}).shares == pytest.approx(
        {"a": 2 / 3, "b": 1 / 3}
    )


def test_the_logo_itself_never_votes() -> None:
    found = predict([5, 1, 2], [0, 1, 3], {5: "own", 1: "a", 2: "b"}, itself=5)
    assert found.shares == pytest.approx({"a": 0.75, "b": 0.25})
    assert predict([5], [0], {5: "own"}, itself=5).shares == {}


def test_unknown_neighbours_make_a_logo_unknown() -> None:
    found = predict([1, 2, 3], [1, 1, 1], {3: "a"})
    assert found.value is None
    assert found.confidence == pytest.approx(2 / 3)
    assert [voter.logo_id for voter in found.deciders] == [1, 2]


@pytest.mark.parametrize(("threshold", "value"), [(0.0, "a"), (0.75, "a"), (0.76, None)])
def test_a_share_below_the_threshold_is_no_prediction(threshold: float, value: str | None) -> None:
    found = predict([1, 2], [1, 3], {1: "a", 2: "b"}, threshold=threshold)
    assert (found.value, found.confidence) == (value, 0.75)
    assert [voter.logo_id for voter in found.deciders] == [1]


def test_equal_shares_go_to_the_nearest_voter_then_to_the_first() -> None:
    assert predict([1, 2, 3], [2, 1, 2], {1: "a", 2: "b", 3: "a"}).value == "b"
    assert predict([1, 2], [2, 2], {1: "z", 2: "b"}).value == "z"


def test_nobody_votes_without_neighbours() -> None:
    found = predict([], [], {})
    assert (found.value, found.confidence, found.shares, found.deciders) == (None, 0.0, {}, [])


@examples(100)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_weights_are_those_of_scikit_learn(distances: list[float]) -> None:
    inverse = 1 / np.array(distances)
    assert vote_weights(distances) == pytest.approx(inverse / inverse.sum())


def test_weights_of_many_rows_and_of_the_smallest_distances() -> None:
    weights = vote_weights([[1, 1, np.inf], [0, 5, np.nan], [5e-324, 1e-323, np.inf], [np.inf] * 3])
    assert weights.tolist() == [[0.5, 0.5, 0], [1, 0, 0], pytest.approx([2 / 3, 1 / 3, 0]), [0, 0, 0]]
