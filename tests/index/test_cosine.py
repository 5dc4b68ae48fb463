"""Cosine distances come out of Euclidean ones between unit vectors."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.build import BuildRequest, build
from index.cosine import CosineIndex, at_unit_length, cosine_distances, has_direction, unit_rows, unit_vector
from index.errors import UnusableVectorError
from index.exact import ExactIndex
from index.files.generations import current_generation
from index.loading import load_index
from index.unit_logos import UnitLogos

RNG = np.random.default_rng(1)
VECTORS = (RNG.normal(size=(50, 8)) * RNG.uniform(0.001, 1000, (50, 1))).astype(np.float32)


def test_neighbours_and_distances_are_those_of_the_cosine() -> None:
    wide = VECTORS.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    truth = 1 - (wide @ wide[3]) / lengths / lengths[3]
    order = np.argsort(truth, kind="stable")
    index = ExactIndex(np.arange(1, 51), unit_rows(VECTORS))
    found = index.nearest_to_vector(unit_vector(VECTORS[3]), 50)
    assert found.logo_ids == (order + 1).tolist()
    assert cosine_distances(found.distances) == pytest.approx(truth[order], abs=1e-6)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1.0, 1e30])
def test_length_does_not_matter_however_long_or_short(scale: float) -> None:
    direction = np.array([3, 0, -4], np.float32)
    assert unit_vector(np.float32(scale) * direction) == pytest.approx([0.6, 0, -0.8], rel=1e-6)


def test_opposite_vectors_are_two_apart_and_right_angles_one() -> None:
    units = unit_rows(np.array([[2, 0], [-7, 0], [0, 0.1]], np.float32))
    assert cosine_distances(np.linalg.norm(units - units[0], axis=1)).tolist() == pytest.approx([0, 2, 1])


@pytest.mark.parametrize("bad", [[0, 0], [np.nan, 1], [np.inf, 1]])
def test_a_vector_without_a_direction_is_refused_and_left_out(bad: list[float]) -> None:
    rows = np.array([[1, 1], bad, [2, 0]], np.float32)
    with pytest.raises(UnusableVectorError, match="no direction"):
        unit_vector(rows[1])
    assert has_direction(rows).tolist() == [True, False, True]
    given = at_unit_length(lambda ids: rows[ids])(np.array([2, 1, 0]))
    assert np.isnan(given).all(axis=1).tolist() == [False, True, False]


def test_an_index_of_unit_vectors_is_searched_by_cosine_whatever_the_length_of_the_query() -> None:
    ids = np.arange(1, 51)
    exact = ExactIndex(ids, unit_rows(VECTORS))
    index = CosineIndex(exact)
    found = index.nearest_to_logo(4, 50)
    assert found.distances == pytest.approx(cosine_distances(exact.nearest_to_logo(4, 50).distances))
    assert found.logo_ids[0] == 4
    assert index.nearest_to_vector(1000 * VECTORS[3], 50).logo_ids == found.logo_ids
    assert index.prefetched([4], 50).nearest_to_logo(4, 50) == found
    assert (len(index), index.dim, 4 in index, 51 in index) == (50, 8, True, False)
    assert index.absent(np.array([4, 51])).tolist() == [51]
    assert index.random_logo() in ids
    with pytest.raises(UnusableVectorError, match="no direction"):
        index.nearest_to_vector(np.zeros(8, np.float32), 5)


ZEROED = VECTORS.copy()
ZEROED[6] = 0


def test_a_build_leaves_out_what_has_no_direction(tmp_path: Path) -> None:
    class Stored:
        dim, damaged = 8, 0
        ids = np.arange(1, 51)

        def __len__(self) -> int:
            return 50

        def vectors(self, logo_ids: Any) -> Any:
            return ZEROED[logo_ids - 1]

        def snapshot(self) -> Any:
            return self

        def blocks(self) -> Any:
            yield self.ids, ZEROED

        def sample(self, count: int, seed: int) -> Any:
            return self.ids, ZEROED

    request = BuildRequest(tmp_path / "clip", no_reduce=True, trees=5)
    assert build(request, UnitLogos(Stored()), lambda doing, total: nullcontext(lambda steps: None)) == 0
    generation = current_generation(tmp_path / "clip")
    assert generation is not None
    assert [*load_index(generation, dim=8).absent(Stored.ids)] == [7]
