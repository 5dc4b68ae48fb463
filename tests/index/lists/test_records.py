from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import IndexDamagedError
from index.lists.records import FEW, IN_BYTES, MANY, MOST, Ranked, RecordFormat, nearest_of, record_components
from tests.index.lists.samples import some_vectors

DIM = 1300
COUNTS_WITH_HALVES = [IN_BYTES + 1, 300, MOST, DIM]


def rich_vectors(logos: int = 1200, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    """Vectors of groups of thirty that vary in all their components, in the later ones less, as those of logos do."""
    rng = np.random.default_rng(seed)
    centres, moves = rng.normal(size=(logos // 30 + 1, dim)), rng.normal(size=(logos, dim))
    together = (centres.repeat(30, axis=0)[:logos] + 0.8 * moves) * np.arange(1, dim + 1) ** -0.25
    return np.asarray(rng.permutation(together), np.float32)


def estimates(made: RecordFormat, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the records of vectors say of their squared distances, but for the same in all."""
    return made.estimates(made.components.project(query), made.encode(vectors), np.arange(len(vectors)))


def test_estimates_order_as_distances_do() -> None:
    vectors, query = some_vectors(2000), some_vectors(1, seed=1)[0]
    made = RecordFormat.fit(vectors[:500], 8)

    assert made.encode(vectors).shape == (2000, 4 + 8)
    exact = ((vectors.astype(np.float64) - query) ** 2).sum(axis=1)
    found = estimates(made, query, vectors)
    assert np.corrcoef(exact, found)[0, 1] > 0.999
    nearest = set(np.argsort(exact)[:20].tolist())
    assert len(nearest & set(np.argsort(found)[:30].tolist())) >= 19


@pytest.mark.parametrize("count", COUNTS_WITH_HALVES)
def test_half_bytes_tell_what_bytes_alone_do_not(count: int) -> None:
    """The more components, the nearer the estimates are to the distances."""
    vectors = rich_vectors()
    query = vectors[0]
    exact = ((vectors.astype(np.float64) - query) ** 2).sum(axis=1)

    def error(components: int) -> float:
        found = estimates(RecordFormat.fit(vectors, components), query, vectors)
        return float(np.std((found - exact)[1:]))

    assert error(count) < (1.05 if count < 300 else 0.97 if count < MOST else 0.6) * error(IN_BYTES)


@pytest.mark.parametrize("count", COUNTS_WITH_HALVES)
def test_a_record_stands_for_each_of_its_components(count: int) -> None:
    """A vector that differs from the mean in one component only is farther from it by that much, whichever it is."""
    made = RecordFormat.fit(rich_vectors(1500), count)  # more than components, so that each has some variance
    components = range(0, count, 7) if count > 400 else range(count)
    moved = np.stack([made.components.mean + 4 * made.steps[i] * made.components.directions[i] for i in components])

    own = [float(estimates(made, vector, vector[np.newaxis])[0]) for vector in moved]

    # |x|^2 - 2 x.x, with what half bytes add to all alike; less the same of a query without the component
    for place, (i, vector) in enumerate(zip(components, moved, strict=True)):
        elsewhere = float(estimates(made, made.components.mean, vector[np.newaxis])[0])
        zero = estimates(made, vector, made.components.mean[np.newaxis])[0]
        zero -= estimates(made, made.components.mean, made.components.mean[np.newaxis])[0]
        product = (elsewhere + zero - own[place]) / 2
        assert product == pytest.approx(16 * made.steps[i] ** 2, rel=0.3), i


@pytest.mark.parametrize("count", [8, 300, MOST])
def test_few_of_the_nearest_are_lost_on_the_way(count: int) -> None:
    vectors = rich_vectors(3000)
    made = RecordFormat.fit(vectors[:1500], count)
    records = made.encode(vectors)
    items = np.arange(100, 3000)
    shares = []
    for query in vectors[:20]:
        exact = ((vectors[items] - query) ** 2).sum(axis=1)
        estimates = made.estimates(made.components.project(query), records, items)
        found = nearest_of([Ranked(items, estimates)], 60)
        assert len(found) == 60
        assert (np.diff(found) > 0).all()
        shares.append(np.isin(items[np.argsort(exact)[:20]], found).mean())
    assert np.mean(shares) > {8: 0.3, 300: 0.8, MOST: 0.99}[count]


def test_the_nearest_are_those_of_the_least_estimates_of_all_shares() -> None:
    shares = [
        Ranked(np.array(items, np.int64), np.array(estimates, np.float32))
        for items, estimates in ([([7, 3, 40], [5, 1, 3]), ([9], [2]), ([], [])])
    ]
    assert nearest_of(shares, 1).tolist() == [3]
    assert nearest_of(shares, 3).tolist() == [3, 9, 40]
    assert nearest_of(shares, 4).tolist() == nearest_of(shares, 9).tolist() == [3, 7, 9, 40]
    assert nearest_of(shares[2:], 9).tolist() == []


def test_the_leftover_tells_vectors_apart_that_the_components_do_not() -> None:
    """Two vectors whose components are alike, of which one is far off in a direction that no component has."""
    vectors = some_vectors(500, noise=0.0)
    made = RecordFormat.fit(vectors, 6)
    aside = np.linalg.svd(made.components.directions)[2][-1] * 30
    near, far = vectors[0], (vectors[0] + aside).astype(np.float32)

    found = estimates(made, near, np.stack([near, far]))

    assert found[1] - found[0] == pytest.approx(900, rel=0.01)


@pytest.mark.parametrize(("vectors", "count"), [(some_vectors(300), 8), (rich_vectors(600), 300)])
def test_a_record_gives_back_the_components_but_for_rounding(vectors: NDArray[np.float32], count: int) -> None:
    made = RecordFormat.fit(vectors, count)
    records = made.encode(vectors)
    points = made.decode(records, 4)
    error = points - made.components.project(vectors)[:, :4]
    assert np.quantile(np.abs(error), 0.99) <= 0.51 * made.steps[0]  # a few values are beyond the largest code
    away = np.linalg.norm(vectors - made.components.mean, axis=1) ** 2 - (points**2).sum(axis=1)
    assert np.median(made.rests(records, points) ** 2 / away) == pytest.approx(1.0, abs=0.16)


def test_outlying_vectors_do_not_coarsen_the_codes() -> None:
    vectors = some_vectors(500)
    spoilt = np.vstack([vectors, np.full((3, 40), 1e15, np.float32)])
    assert RecordFormat.fit(spoilt, 6).steps == pytest.approx(RecordFormat.fit(vectors, 6).steps, rel=0.2)
    assert np.isfinite(RecordFormat.fit(vectors, 6).encode(spoilt)[:, :4].copy().view("<f4")).all()


@pytest.mark.parametrize("count", [4, 300])
def test_equal_vectors_can_be_recorded(count: int) -> None:
    vectors = np.ones((10, count), np.float32)
    made = RecordFormat.fit(vectors, count)
    assert estimates(made, vectors[0], vectors) == pytest.approx(np.zeros(10), abs=1e-6)


def test_records_are_longer_among_many_logos() -> None:
    assert [record_components(logos) for logos in (1, MANY - 1, MANY)] == [FEW, FEW, MOST]


def test_records_of_the_bundled_weights_are_whole_lines_of_the_cache() -> None:
    assert [RecordFormat.size_of(count) for count in (FEW, MOST)] == [320, 704]
    assert [RecordFormat.size_of(count) for count in (1, IN_BYTES, IN_BYTES + 1, IN_BYTES + 2)] == [5, 196, 197, 197]


@pytest.mark.parametrize("count", [6, 300])
def test_what_was_saved_is_loaded(tmp_path: Path, count: int) -> None:
    vectors = rich_vectors(400, 320)
    made = RecordFormat.fit(vectors, count)
    made.save(tmp_path / "components.npy")
    loaded = RecordFormat.load(tmp_path / "components.npy", dim=320, count=count)
    np.testing.assert_array_equal(loaded.encode(vectors), made.encode(vectors))


@pytest.mark.parametrize("spoil", ["cut", "other shape", "other type", "not finite", "no step", "no array"])
def test_damaged_components_are_refused(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "components.npy"
    RecordFormat.fit(some_vectors(100), 6).save(path)
    rows = np.load(path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif spoil == "other shape":
        np.save(path, rows[:-1])
    elif spoil == "other type":
        np.save(path, rows.astype(np.float64))
    elif spoil == "not finite":
        rows[3, 3] = np.nan
        np.save(path, rows)
    elif spoil == "no step":
        rows[1, 2] = 0
        np.save(path, rows)
    else:
        path.write_bytes(b"\x80\x04N.")
    with pytest.raises(IndexDamagedError, match=r"components\.npy"):
        RecordFormat.load(path, dim=40, count=6)
