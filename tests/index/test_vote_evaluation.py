"""Votes are judged by logos whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from index.vote_evaluation import Threshold, evaluate, least_threshold
from index.votes import predict


def test_a_small_evaluation_by_hand() -> None:
    # Logo 4 has no value: it is not voted on, and votes for nothing.
    values = {1: "a", 2: "a", 3: "b", 5: "b"}
    neighbours = np.array([[1, 2, 3], [2, 1, 3], [3, 5, 1], [4, 1, 2], [5, 4, 3]])
    distances = np.array([[0, 1, 4], [0, 1, 1], [0, 1, 3], [0, 1, 1], [0, 1, 3.0]])
    found = evaluate(np.arange(1, 6), neighbours, distances, values, threshold=0.6, precision=0.9, bins=4)
    # 1: a 0.8, right. 2: a 0.5 and b 0.5, right by the order. 3: b 0.75, right. 5: nobody knows 0.75, wrong.
    assert found.logos == 4
    assert found.accuracy == 3 / 4
    assert found.coverage == 2 / 4
    assert found.precision == 1
    assert [(row.low, row.high, row.logos) for row in found.reliability] == [
        (0, 0.25, 0),
        (0.25, 0.5, 1),
        (0.5, 0.75, 1),
        (0.75, 1, 1),
    ]
    assert [row.accuracy for row in found.reliability] == [0, 1, 1, 1]
    assert [row.confidence for row in found.reliability] == pytest.approx([0, 0.5, 0.75, 0.8])
    assert found.threshold == Threshold(0.5, 3, 1.0)
    assert [(row.value, row.logos, row.answered, row.right, row.recall) for row in found.values] == [
        ("a", 2, 1, 1, 0.5),
        ("b", 2, 1, 1, 0.5),
    ]
    assert [row.precision for row in found.values] == [1, 1]


def test_each_vote_ends_as_a_single_prediction_does() -> None:
    rng = np.random.default_rng(3)
    logo_ids = rng.permutation(np.arange(1, 401))
    values = {int(logo_id): f"v{logo_id % 5}" for logo_id in logo_ids[:300]}
    neighbours = np.array([rng.choice(logo_ids, 7, replace=False) for _ in logo_ids])
    distances = rng.uniform(0.1, 3, neighbours.shape)
    distances[::9, 2] = 0
    distances[::7, 5:] = np.inf
    single = {
        logo_id: predict(ids.tolist(), far.tolist(), values, itself=logo_id, threshold=0.4)
        for logo_id, ids, far in zip(logo_ids.tolist(), neighbours, distances, strict=True)
        if logo_id in values
    }
    found = evaluate(logo_ids, neighbours, distances, values, threshold=0.4)
    answered = [logo_id for logo_id, vote in single.items() if vote.value is not None]
    right = [logo_id for logo_id in answered if single[logo_id].value == values[logo_id]]
    assert 0 < len(right) < len(answered) < len(single)
    assert found.logos == len(single) == 300
    assert found.coverage == len(answered) / 300
    assert found.precision == len(right) / len(answered)
    assert sum(row.answered for row in found.values) == len(answered)
    assert sum(row.right for row in found.values) == len(right)


def test_rows_are_judged_alike_however_many_there_are_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    logo_ids = np.arange(1, 60)
    values = {int(logo_id): f"v{logo_id % 3}" for logo_id in logo_ids}
    neighbours, distances = rng.integers(1, 60, (59, 6)), rng.uniform(0.1, 1, (59, 6))
    whole = evaluate(logo_ids, neighbours, distances, values)
    monkeypatch.setattr("index.vote_evaluation._BLOCK_CELLS", 100)
    assert evaluate(logo_ids, neighbours, distances, values) == whole


@pytest.mark.parametrize(
    ("precision", "threshold"),
    [
        (1.0, Threshold(0.9, 1, 1.0)),
        (0.75, Threshold(0.5, 4, 0.75)),
        (0.6, Threshold(0.4, 5, 0.6)),
        (0.0, Threshold(0.4, 5, 0.6)),
    ],
)
def test_the_threshold_is_the_lowest_that_is_precise_enough(precision: float, threshold: Threshold) -> None:
    confidences = np.array([0.4, 0.9, 0.5, 0.5, 0.5])
    right = np.array([False, True, True, False, True])
    assert least_threshold(confidences, right, precision) == threshold


def test_no_threshold_helps_where_the_surest_predictions_are_wrong() -> None:
    assert least_threshold(np.array([0.9, 0.5]), np.array([False, True]), 0.6) is None
    assert least_threshold(np.array([]), np.array([], bool), 0.6) is None


def test_no_logo_with_a_value_is_an_empty_evaluation() -> None:
    found = evaluate(np.array([1]), np.array([[2]]), np.array([[0.5]]), {})
    assert (found.logos, found.accuracy, found.coverage, found.threshold, found.values) == (0, 0, 0, None, [])
