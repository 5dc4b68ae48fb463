"""The recall that a build measures: answers are right by their distances, whatever their ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.rivals.vectors import count_found
from index.exact import ExactIndex
from index.protocol import Neighbours
from index.recall import Truth, recall_of
from index.sample import Sample
from tests.index.samples import Logos, build, some_logos

COPIES = 12


def uploaded_again(seed: int = 0) -> Logos:
    """Logos of which each picture is there under a dozen ids, in no order."""
    _, vectors = some_logos(50, dim=16, seed=seed)
    rows = np.random.default_rng(seed).permutation(np.repeat(np.arange(50), COPIES))
    return np.arange(1, len(rows) + 1), vectors[rows]


def truth_of(logos: Logos, queries: int = 60) -> Truth:
    ids, vectors = logos
    truth = Truth(ids[:queries], vectors[:queries])
    for first in range(0, len(ids), 97):
        truth.take_in(ids[first : first + 97], vectors[first : first + 97])
    return truth


def other_order(logos: Logos) -> ExactIndex:
    """Exact search that ranks equal distances the other way round."""
    return ExactIndex(logos[0][::-1], logos[1][::-1])


class Forgetful(ExactIndex):
    """Exact search that misses every second neighbour."""

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        found = super().nearest_to_logo(logo_id, 2 * count)
        ids, distances = found.logo_ids, found.distances
        return Neighbours([logo_id, *ids[2::2]][:count], [0.0, *distances[2::2]][:count])


def test_equal_vectors_under_other_ids_are_found() -> None:
    logos = uploaded_again()
    for index in (ExactIndex(*logos), other_order(logos)):
        assert recall_of(index, truth_of(logos).of(index)) == {10: 1.0, 100: 1.0}


@pytest.mark.parametrize("logos", [some_logos(600), uploaded_again()], ids=["distinct", "copies"])
def test_what_is_farther_than_the_true_neighbours_is_not_found(logos: Logos) -> None:
    index = Forgetful(*logos)
    assert recall_of(index, truth_of(logos).of(index)) == pytest.approx({10: 0.5, 100: 0.5}, abs=0.05)


def test_one_search_answers_for_all_counts() -> None:
    class ForgetfulForFew(Forgetful):
        def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
            if count < 50:
                return super().nearest_to_logo(logo_id, count)
            return ExactIndex.nearest_to_logo(self, logo_id, count)

    index = ForgetfulForFew(*some_logos(600))
    truth = truth_of(some_logos(600)).of(index)
    assert recall_of(index, truth) == pytest.approx({10: 0.5, 100: 1.0}, abs=0.05)
    assert recall_of(index, truth, at_once=True) == {10: 1.0, 100: 1.0}


def test_rounding_makes_no_difference() -> None:
    """The truth is computed from products in 32 bits, which lose digits of long vectors that are near each other."""
    ids, vectors = some_logos(600, dim=64)
    logos = ids, vectors + np.float32(30)
    index = ExactIndex(*logos)
    assert recall_of(index, truth_of(logos).of(index)) == {10: 1.0, 100: 1.0}


def test_logos_that_an_index_lacks_are_not_missed() -> None:
    ids, vectors = uploaded_again()
    index = ExactIndex(ids[::2], vectors[::2])
    truth = truth_of((ids, vectors)).of(index)
    assert set(truth) == set(ids[:60:2].tolist())
    assert recall_of(index, truth) == {10: 1.0, 100: 1.0}


def test_equal_vectors_need_no_more_effort_of_annoy(tmp_path: Path) -> None:
    logos = uploaded_again()
    manifest = build(tmp_path, logos, sample=Sample(logos[0][:60], logos[1][:60]))
    assert manifest.recall is not None
    assert (manifest.recall.at_10, manifest.recall.search_k) == (1.0, 1000)
    assert manifest.recall.at_100 >= 0.95


def test_benchmarks_count_answers_that_are_as_near() -> None:
    vectors = np.array([[0.0], [1.0], [1.0], [1.0], [2.0]], np.float32)
    assert count_found(vectors, vectors[0], [0, 3, 2], [0, 1, 2]) == 3
    assert count_found(vectors, vectors[0], [0, 3, 2, 1], [0, 1, 2]) == 3
    assert count_found(vectors, vectors[0], [0, 4, 1], [0, 1, 2]) == 2
    assert count_found(vectors, vectors[0], [1, 1, -1], [0, 1, 2]) == 1
