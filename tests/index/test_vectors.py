from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from index.errors import DimensionError
from index.vectors import MAX_LENGTH, as_query, check_count, squared_lengths, usable_rows


def test_two_longest_vectors_have_a_finite_float32_distance() -> None:
    longest = np.array([MAX_LENGTH, 0], np.float32)

    squared_distance = np.sum((longest - -longest) ** 2, dtype=np.float32)

    assert usable_rows(longest[np.newaxis]).all()
    assert np.isfinite(squared_distance)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2 * MAX_LENGTH, 3e38, 1e300])
def test_a_query_without_finite_distances_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite, or longer"):
        as_query([1.0, value], dim=2)


@pytest.mark.parametrize("vector", [[], [1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], 1.0])
def test_a_query_of_another_shape_is_refused(vector: ArrayLike) -> None:
    with pytest.raises(DimensionError, match="2 are expected"):
        as_query(vector, dim=2)


def test_a_query_may_be_any_sequence_of_numbers() -> None:
    query = as_query([1, 2.5], dim=2)

    assert query.dtype == np.float32
    assert query.tolist() == [1.0, 2.5]


def test_squared_lengths_do_not_overflow_where_float32_would() -> None:
    assert squared_lengths(np.full((1, 4), 1e38, np.float32))[0] == pytest.approx(4e76)


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_neighbour_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        check_count(count)
