from __future__ import annotations

import numpy as np
import pytest

from index.components import Components, usual
from tests.index.lists.samples import some_vectors


def test_components_are_orthonormal_and_of_falling_variance() -> None:
    vectors = some_vectors(500)
    components = Components.fit(vectors, 10)

    assert (components.dim, len(components)) == (40, 10)
    np.testing.assert_allclose(components.directions @ components.directions.T, np.eye(10), atol=1e-5)
    variances = components.project(vectors).var(axis=0)
    assert (np.diff(variances) < 1e-3).all()
    assert variances[:6].sum() > 0.99 * variances.sum()  # the six directions that they vary in


@pytest.mark.parametrize("logos", [1, 9, 20, 50])
def test_there_are_no_more_components_than_values(logos: int) -> None:
    components = Components.fit(some_vectors(logos), 100)
    assert len(components) == 40
    np.testing.assert_allclose(components.directions @ components.directions.T, np.eye(40), atol=1e-5)


@pytest.mark.parametrize("count", [3, 12, 40])
def test_few_vectors_have_the_components_of_their_covariance(count: int) -> None:
    vectors = some_vectors(10)
    found = Components.fit(vectors, count)
    variances, directions = np.linalg.eigh(np.cov(vectors.astype(np.float64), rowvar=False))
    along = np.abs(found.directions[: min(count, 9)] @ directions[:, ::-1][:, : min(count, 9)])
    np.testing.assert_allclose(along, np.eye(len(along)), atol=1e-3)
    np.testing.assert_allclose(
        found.project(vectors)[:, :9].var(axis=0, ddof=1), variances[::-1][: min(count, 9)], rtol=1e-3
    )
    assert len(found) == count
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(count), atol=1e-5)


def test_a_few_outlying_vectors_do_not_turn_the_directions() -> None:
    vectors = some_vectors(500)
    spoilt = np.vstack([vectors, np.full((3, 40), 1e15, np.float32)])

    clean, robust = Components.fit(usual(vectors), 6), Components.fit(usual(spoilt), 6)

    shared = np.linalg.svd(clean.directions @ robust.directions.T, compute_uv=False)
    assert shared.min() > 0.99
