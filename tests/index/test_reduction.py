from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import IndexDamagedError
from index.reduction import Reduction


def some_vectors(count: int, dim: int = 40, latent: int = 6, noise: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    """Vectors that vary in a few directions, and a little in all."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(latent, dim))
    vectors = 5 + rng.normal(size=(count, latent)) @ directions + noise * rng.normal(size=(count, dim))
    return vectors.astype(np.float32)


def test_components_are_orthonormal_and_of_falling_variance() -> None:
    vectors = some_vectors(500)
    reduction = Reduction.fit(vectors, tree_dim=4, code_dim=10)

    assert (reduction.dim, reduction.code_dim, reduction.tree_dim) == (40, 10, 4)
    np.testing.assert_allclose(reduction.components @ reduction.components.T, np.eye(10), atol=1e-5)
    variances = reduction.project(vectors).var(axis=0)
    assert (np.diff(variances) < 1e-3).all()
    assert variances[:6].sum() > 0.99 * variances.sum()  # the six directions that they vary in


def test_estimates_order_as_distances_do() -> None:
    vectors, query = some_vectors(2000), some_vectors(1, seed=1)[0]
    reduction = Reduction.fit(vectors[:500], tree_dim=4, code_dim=8)

    records = reduction.records(vectors, reduction.project(vectors))
    estimates = reduction.estimates(reduction.project(query), records)

    assert records.shape == (2000, 4 + 8)
    exact = ((vectors.astype(np.float64) - query) ** 2).sum(axis=1)
    assert np.corrcoef(exact, estimates)[0, 1] > 0.999
    nearest = set(np.argsort(exact)[:20].tolist())
    assert len(nearest & set(np.argsort(estimates)[:30].tolist())) >= 19


def test_the_leftover_tells_vectors_apart_that_the_components_do_not() -> None:
    """Two vectors whose components are alike, of which one is far off in a direction that no component has."""
    vectors = some_vectors(500, noise=0.0)
    reduction = Reduction.fit(vectors, tree_dim=4, code_dim=6)
    aside = np.linalg.svd(reduction.components)[2][-1] * 30
    near, far = vectors[0], (vectors[0] + aside).astype(np.float32)

    records = reduction.records(np.stack([near, far]), reduction.project(np.stack([near, far])))
    near_estimate, far_estimate = reduction.estimates(reduction.project(vectors[0]), records)

    assert far_estimate - near_estimate == pytest.approx(900, rel=0.01)


def test_a_few_outlying_vectors_do_not_turn_the_directions() -> None:
    vectors = some_vectors(500)
    spoilt = np.vstack([vectors, np.full((3, 40), 1e15, np.float32)])

    clean, robust = Reduction.fit(vectors, code_dim=6), Reduction.fit(spoilt, code_dim=6)

    shared = np.linalg.svd(clean.components @ robust.components.T, compute_uv=False)
    assert shared.min() > 0.99
    assert robust.scale == pytest.approx(clean.scale, rel=0.2)


def test_equal_vectors_can_be_reduced() -> None:
    vectors = np.ones((10, 4), np.float32)
    reduction = Reduction.fit(vectors)
    records = reduction.records(vectors, reduction.project(vectors))
    assert reduction.estimates(reduction.project(vectors[0]), records) == pytest.approx(np.zeros(10), abs=1e-6)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    reduction = Reduction.fit(some_vectors(100), tree_dim=4, code_dim=6)
    reduction.save(tmp_path / "components.npy")

    loaded = Reduction.load(tmp_path / "components.npy", dim=40, code_dim=6, scale=reduction.scale, tree_dim=4)

    vectors = some_vectors(5, seed=2)
    np.testing.assert_array_equal(loaded.project(vectors), reduction.project(vectors))


@pytest.mark.parametrize("spoil", ["cut", "other shape", "other type", "not finite", "no array"])
def test_damaged_components_are_refused(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "components.npy"
    reduction = Reduction.fit(some_vectors(100), tree_dim=4, code_dim=6)
    reduction.save(path)
    rows = np.load(path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif spoil == "other shape":
        np.save(path, rows[:-1])
    elif spoil == "other type":
        np.save(path, rows.astype(np.float64))
    elif spoil == "not finite":
        rows[2, 3] = np.nan
        np.save(path, rows)
    else:
        path.write_bytes(b"\x80\x04N.")
    with pytest.raises(IndexDamagedError, match=r"components\.npy"):
        Reduction.load(path, dim=40, code_dim=6, scale=1.0, tree_dim=4)
