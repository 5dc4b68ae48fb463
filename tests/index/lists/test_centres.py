from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index.errors import IndexDamagedError
from index.lists.centres import LISTED_FROM, LOGOS_A_LIST, Centres, find_centres, list_count, nearest
from tests.index.lists.samples import some_vectors

BLOBS = 12


def blobs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(7).normal(scale=20, size=(BLOBS, 6))
    points = middles[rng.integers(0, BLOBS, count)] + rng.normal(scale=0.1, size=(count, 6))
    return points.astype(np.float32), middles


def test_lists_are_as_many_as_the_logos_need() -> None:
    assert [list_count(logos) for logos in (1, LISTED_FROM, 50 * LOGOS_A_LIST)] == [1, 1, 50]


def test_blobs_are_not_divided_more_than_asked_and_none_is_far_from_a_centre() -> None:
    points, middles = blobs(3000)
    centres = find_centres(points, 3 * BLOBS, seed=0)
    assert abs(len(centres) - 3 * BLOBS) <= BLOBS / 2
    distances = np.linalg.norm(middles[:, np.newaxis] - centres, axis=2).min(axis=1)
    assert distances.max() < 3


def test_two_levels_are_nearly_as_tight_as_one() -> None:
    points = some_vectors(4000)
    rng = np.random.default_rng(0)
    centres = points[rng.choice(len(points), 50, replace=False)]
    for _ in range(20):  # Lloyd's algorithm, on one level
        found = nearest(points, centres)
        centres = np.array([points[found == k].mean(axis=0) for k in range(50) if (found == k).any()])
    ours = find_centres(points, 50, seed=0)

    def spread(centres: np.ndarray) -> float:
        return float(((points - centres[nearest(points, centres)]) ** 2).sum())

    assert spread(ours) < 1.1 * spread(centres)


def test_the_nearest_centre_is_the_nearest() -> None:
    points, centres = some_vectors(5000), some_vectors(30, seed=1)
    distances = np.linalg.norm(points[:, np.newaxis].astype(np.float64) - centres, axis=2)
    chosen = distances[np.arange(len(points)), nearest(points, centres)]
    assert chosen == pytest.approx(distances.min(axis=1), rel=1e-4)


def test_equal_points_can_be_divided() -> None:
    centres = find_centres(np.ones((100, 4), np.float32), 9, seed=0)
    assert np.isfinite(centres).all()
    assert (centres == 1).all()


def test_a_seed_gives_the_same_centres() -> None:
    points = some_vectors(1000)
    np.testing.assert_array_equal(find_centres(points, 20, seed=3), find_centres(points, 20, seed=3))


def test_lists_come_nearest_first(tmp_path: Path) -> None:
    centres, queries = some_vectors(200, seed=2), some_vectors(50, seed=3)
    Centres.write(tmp_path / "index.bin", centres, trees=12, seed=1, jobs=1)
    loaded = Centres(tmp_path / "index.bin", centres.shape[1])
    assert len(loaded) == 200

    lists, squares = loaded.nearest(queries)

    for query, order, of_query in zip(queries, lists, squares, strict=True):
        exact = ((centres.astype(np.float64) - query) ** 2).sum(axis=1)
        assert sorted(order.tolist()) == list(range(200))
        np.testing.assert_allclose(of_query, exact[order], rtol=1e-4, atol=1e-4)
        assert (np.diff(of_query) >= 0).all()


def test_centres_that_are_gone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexDamagedError, match=r"index\.bin"):
        Centres(tmp_path / "index.bin", 4)
