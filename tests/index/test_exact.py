from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import DimensionError
from index.exact import ExactIndex
from tests.index.samples import some_logos


def brute_force(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> list[tuple[float, int]]:
    distances = np.sqrt(((vectors.astype(np.float64) - query) ** 2).sum(axis=1)).astype(np.float32)
    return sorted((float(distance), item) for item, distance in enumerate(distances))


@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1e4, 1), (1e12, 1e6), (1e16, 1e12), (0, 1e-18)])
def test_neighbours_are_those_of_brute_force(offset: float, spread: float) -> None:
    """This includes vectors that a matrix product in float32 cannot distinguish."""
    logo_ids, vectors = some_logos(500, dim=64)
    vectors = (vectors * spread + offset).astype(np.float32)
    index = ExactIndex(logo_ids, vectors)

    for query in vectors[:20] + np.float32(0.1 * spread):
        expected = brute_force(vectors, query)[:30]
        found = index.nearest_to_vector(query, 30)
        assert found.distances == [distance for distance, _ in expected]
        assert found.logo_ids == [int(logo_ids[item]) for _, item in expected]


def test_a_logo_is_its_own_nearest_neighbour_before_its_duplicates() -> None:
    index = ExactIndex([5, 3, 4], np.ones((3, 2), np.float32))

    found = index.nearest_to_logo(4, 2)

    assert found.logo_ids == [4, 5]
    assert found.distances == [0.0, 0.0]


def test_equally_near_logos_come_in_the_order_they_were_indexed() -> None:
    index = ExactIndex([30, 10, 20, 40], np.array([[1, 0], [0, 1], [-1, 0], [0, 0]], np.float32))

    assert index.nearest_to_vector(np.zeros(2, np.float32), 3).logo_ids == [40, 30, 10]


def test_a_count_beyond_the_index_gives_all_of_it() -> None:
    logo_ids, vectors = some_logos(20)

    found = ExactIndex(logo_ids, vectors).nearest_to_vector(vectors[0], 1000)

    assert sorted(found.logo_ids) == sorted(logo_ids.tolist())


def test_an_empty_index_answers_with_nothing() -> None:
    index = ExactIndex([], np.empty((0, 3), np.float32))

    assert len(index) == 0
    assert index.dim == 3
    assert index.random_logo() is None
    assert index.nearest_to_vector(np.zeros(3, np.float32), 5).logo_ids == []
    with pytest.raises(KeyError):
        index.nearest_to_logo(1, 5)


def test_members_are_known() -> None:
    index = ExactIndex([7], np.zeros((1, 3), np.float32))

    assert 7 in index
    assert 8 not in index
    assert index.random_logo() == 7


def test_vectors_can_be_a_memory_map(tmp_path: Path) -> None:
    logo_ids, vectors = some_logos(50)
    vectors.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", np.float32, "r", shape=vectors.shape)

    found = ExactIndex(logo_ids, mapped).nearest_to_vector(vectors[3], 5)

    assert found == ExactIndex(logo_ids, vectors).nearest_to_vector(vectors[3], 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_vectors_without_finite_distances_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite, or too long"):
        ExactIndex([1, 2], np.array([[0], [value]], np.float32))


@pytest.mark.parametrize("vectors", [np.zeros((2, 3)), np.zeros(3), np.zeros((3, 1, 1))])
def test_ids_and_vectors_that_do_not_match_are_refused(vectors: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="do not match"):
        ExactIndex([1, 2, 3], vectors)


def test_bad_questions_are_refused() -> None:
    index = ExactIndex([1], np.zeros((1, 3), np.float32))

    with pytest.raises(DimensionError):
        index.nearest_to_vector(np.zeros(4, np.float32), 1)
    with pytest.raises(ValueError, match="not finite"):
        index.nearest_to_vector(np.full(3, np.nan, np.float32), 1)
    with pytest.raises(ValueError, match="at least 1"):
        index.nearest_to_logo(1, 0)
