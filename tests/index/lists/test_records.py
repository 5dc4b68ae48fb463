from __future__ import annotations

import numpy as np
import pytest

from index.lists.records import LEFTOVER_WEIGHT, LONG, LONG_FROM, SHORT, RecordFormat, record_components
from tests.index.lists.samples import some_vectors


def test_estimates_order_as_distances_do() -> None:
    vectors, query = some_vectors(2000), some_vectors(1, seed=1)[0]
    made = RecordFormat.fit(vectors[:500], 8)

    records = made.encode(vectors)
    estimates = made.estimates(made.components.project(query), records)

    assert records.shape == (2000, 4 + 8)
    exact = ((vectors.astype(np.float64) - query) ** 2).sum(axis=1)
    assert np.corrcoef(exact, estimates)[0, 1] > 0.999
    nearest = set(np.argsort(exact)[:20].tolist())
    assert len(nearest & set(np.argsort(estimates)[:30].tolist())) >= 19


def test_the_leftover_tells_vectors_apart_that_the_components_do_not() -> None:
    """Two vectors whose components are alike, of which one is far off in a direction that no component has."""
    vectors = some_vectors(500, noise=0.0)
    made = RecordFormat.fit(vectors, 6)
    aside = np.linalg.svd(made.components.directions)[2][-1] * 30
    near, far = vectors[0], (vectors[0] + aside).astype(np.float32)

    estimates = made.estimates(made.components.project(near), made.encode(np.stack([near, far])))

    assert estimates[1] - estimates[0] == pytest.approx(900 * LEFTOVER_WEIGHT, rel=0.01)


def test_a_record_gives_back_the_components_but_for_rounding() -> None:
    vectors = some_vectors(300)
    made = RecordFormat.fit(vectors, 8)
    error = made.decode(made.encode(vectors), 4) - made.components.project(vectors)[:, :4]
    assert np.quantile(np.abs(error), 0.99) <= 0.51 * made.step  # a few values are beyond the largest code


def test_outlying_vectors_do_not_coarsen_the_codes() -> None:
    vectors = some_vectors(500)
    spoilt = np.vstack([vectors, np.full((3, 40), 1e15, np.float32)])
    assert RecordFormat.fit(spoilt, 6).step == pytest.approx(RecordFormat.fit(vectors, 6).step, rel=0.2)
    assert np.isfinite(RecordFormat.fit(vectors, 6).encode(spoilt)[:, :4].copy().view("<f4")).all()


def test_equal_vectors_can_be_recorded() -> None:
    vectors = np.ones((10, 4), np.float32)
    made = RecordFormat.fit(vectors, 4)
    estimates = made.estimates(made.components.project(vectors[0]), made.encode(vectors))
    assert estimates == pytest.approx(np.zeros(10), abs=1e-6)


def test_records_are_longer_among_many_logos() -> None:
    assert [record_components(logos) for logos in (1, LONG_FROM - 1, LONG_FROM)] == [SHORT, SHORT, LONG]
