"""Points laid out on a plane: what was near stays near."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.map import tsne
from index.map.near_pairs import NearPairs, nearest
from index.map.repulsion import WIDEST, Repulsion
from index.map.tsne import STEPS, STEPS_FROM_EARLIER, lay_out

FloatArray = NDArray[np.float32]


def clusters(count: int, *, of: int = 8, dim: int = 10, seed: int = 0) -> tuple[FloatArray, NDArray[np.int64]]:
    """Points of falling variance in clusters that do not touch, and the cluster of each."""
    rng = np.random.default_rng(seed)
    belongs = rng.integers(0, of, count)
    points = 10 * rng.standard_normal((of, dim))[belongs] + rng.standard_normal((count, dim))
    points -= points.mean(axis=0)
    _, _, directions = np.linalg.svd(points, full_matrices=False)
    return (points @ directions.T).astype(np.float32), belongs


def shared_neighbours(points: FloatArray, layout: FloatArray, count: int = 10) -> float:
    """The share of each point's nearest that are its nearest on the layout, too."""
    pairs = zip(nearest(points, count)[0], nearest(layout, count)[0], strict=True)
    return float(np.mean([len({*one.tolist()} & {*other.tolist()}) / count for one, other in pairs]))


def exact_repulsion(layout: FloatArray) -> NDArray[np.float64]:
    differences = layout[:, np.newaxis].astype(float) - layout
    kernel = 1 / (1 + (differences**2).sum(axis=2))
    np.fill_diagonal(kernel, 0)
    forces: NDArray[np.float64] = (kernel[:, :, np.newaxis] ** 2 * differences).sum(axis=1) / kernel.sum()
    return forces


def test_neighbours_stay_neighbours_and_clusters_apart() -> None:
    points, belongs = clusters(600)
    layout = lay_out(points)
    assert layout.shape == (600, 2)
    assert shared_neighbours(points, layout) > 1.5 * shared_neighbours(points, points[:, :2])
    same = belongs[nearest(layout, 10)[0]] == belongs[:, np.newaxis]
    assert same.mean() > 0.99


def test_the_same_seed_gives_the_same_layout_at_any_scale_of_the_points() -> None:
    points, _ = clusters(40)
    layout = lay_out(points, seed=3)
    assert np.array_equal(layout, lay_out(points, seed=3))
    assert np.array_equal(layout, lay_out(points * np.float32(2**100), seed=3))
    assert not np.array_equal(layout, lay_out(points, seed=4))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 11])
@pytest.mark.parametrize("dim", [1, 10])
@pytest.mark.parametrize("make", [np.zeros, np.ones, lambda shape: clusters(shape[0], dim=shape[1])[0]])
def test_few_points_equal_points_and_flat_ones_have_a_place(
    monkeypatch: pytest.MonkeyPatch, count: int, dim: int, make: Callable[[Any], FloatArray]
) -> None:
    monkeypatch.setattr(tsne, "STEPS", tsne._CONDENSING + 50)
    points = make((count, dim)).astype(np.float32) if count else np.zeros((0, dim), np.float32)
    layout = lay_out(points)
    assert layout.shape == (count, 2)
    assert np.isfinite(layout).all()


def test_points_that_are_known_stay_where_they_were() -> None:
    points, _ = clusters(250)
    before = lay_out(points)
    earlier = 1000 + 37 * before  # at another scale, and elsewhere
    new = np.arange(0, 250, 10)
    earlier[new] = np.nan
    done: list[int] = []
    after = lay_out(points, earlier=earlier, progress=done.append)
    assert sum(done) == STEPS_FROM_EARLIER < STEPS

    def framed(layout: FloatArray) -> FloatArray:
        middle: FloatArray = (layout - layout.mean(axis=0)) / np.ptp(layout)
        return middle

    moved = np.linalg.norm(framed(after) - framed(before), axis=1)
    assert np.median(moved) < 0.03
    assert np.median(moved[new]) < 0.05  # they are where they had been, though nobody said so
    assert shared_neighbours(points, after) > 0.9 * shared_neighbours(points, before)


def test_an_earlier_layout_without_extent_does_no_harm() -> None:
    points, _ = clusters(50)
    assert np.isfinite(lay_out(points, earlier=np.full((50, 2), 7, np.float32))).all()


@pytest.mark.parametrize("width", [1, 30, WIDEST / 1.1])
def test_forces_are_about_those_of_each_pair(width: float) -> None:
    layout = (width * np.random.default_rng(1).uniform(-0.5, 0.5, (400, 2))).astype(np.float32)
    exact = exact_repulsion(layout)
    errors, sizes = (np.linalg.norm(forces, axis=1) for forces in (Repulsion().among(layout) - exact, exact))
    assert np.median(errors) < 0.1 * np.median(sizes)
    assert errors.max() < 0.2 * sizes.max()


@pytest.mark.parametrize("width", [1e-4, 0.1])
def test_points_close_together_are_pushed_in_the_right_direction(width: float) -> None:
    layout = (width * np.random.default_rng(1).uniform(-0.5, 0.5, (400, 2))).astype(np.float32)
    forces, exact = Repulsion().among(layout), exact_repulsion(layout)
    sizes = np.linalg.norm(forces, axis=1) * np.linalg.norm(exact, axis=1)
    assert np.median((forces * exact).sum(axis=1) / sizes) > 0.999


@pytest.mark.parametrize("width", [10, 1e3])
def test_a_few_points_far_apart_hardly_push_each_other(width: float) -> None:
    layout = np.array([[0, 0], [width, 0], [0, width]], np.float32) + np.float32(0.3)
    forces = Repulsion().among(layout)
    assert np.isfinite(forces).all()
    assert np.abs(forces).max() < 1


def test_affinities_are_as_wide_as_a_perplexity_asks() -> None:
    points, _ = clusters(400)
    shares = NearPairs.of(points).weights * (2 * 400)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    entropy = -(shares * np.log(np.maximum(shares, 1e-30))).sum(axis=1)
    assert np.allclose(np.exp(entropy), 15, rtol=0.01)


def test_nearest_points_are_the_nearest() -> None:
    points, _ = clusters(300)
    others, squares = nearest(points, 5)
    exact = ((points[:, np.newaxis].astype(float) - points) ** 2).sum(axis=2)
    np.fill_diagonal(exact, np.inf)
    assert np.allclose(np.sort(squares, axis=1), np.sort(exact, axis=1)[:, :5], rtol=1e-3, atol=1e-3)
    assert not (others == np.arange(300)[:, np.newaxis]).any()
