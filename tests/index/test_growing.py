"""Logos that are added one after another are searched exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import growing
from index.errors import DimensionError, UnusableVectorError
from index.exact import ExactIndex
from index.growing import GrowingIndex
from index.rounded import RoundedVectors
from tests.index.lists.samples import some_vectors
from tests.properties import examples

DIM = 40
Vectors = NDArray[np.float32]


def spread_evenly(count: int, seed: int) -> Vectors:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def in_few_directions(count: int, seed: int) -> Vectors:
    return some_vectors(count, DIM, latent=3, noise=0.0, seed=seed)


def far_away_and_close_together(count: int, seed: int) -> Vectors:
    return (1e4 + 1e-2 * spread_evenly(count, seed)).astype(np.float32)


def of_all_lengths(count: int, seed: int) -> Vectors:
    return spread_evenly(count, seed) * np.geomspace(1e-18, 1e17, count, dtype=np.float32)[:, np.newaxis]


@pytest.mark.parametrize("draw", [spread_evenly, in_few_directions, far_away_and_close_together, of_all_lengths])
def test_neighbours_are_those_of_exact_search(draw: Callable[[int, int], Vectors]) -> None:
    vectors = draw(1500, 1)
    ids = np.random.default_rng(0).permutation(5000)[:1500] + 1
    index = GrowingIndex(DIM, 10_000)
    for first in range(0, 1500, 130):
        index.add(ids[first : first + 130], vectors[first : first + 130])
        exact = ExactIndex(ids[: first + 130], vectors[: first + 130])
        for query in [*draw(4, 2), *vectors[:3]]:
            for count in (1, 20, 5000):
                assert index.grown().nearest(query, count) == exact.nearest_to_vector(query, count)


@pytest.mark.parametrize("dim", [2, 7, 40, 512])
@pytest.mark.parametrize("draw", [spread_evenly, in_few_directions, far_away_and_close_together, of_all_lengths])
def test_all_that_are_near_enough_are_found_by_rounded_vectors(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[[int, int], Vectors], dim: int
) -> None:
    monkeypatch.setattr(growing, "_ROUNDED_FROM", 1)
    vectors, queries = (np.resize(draw(size, seed), (size, dim)) for size, seed in ((700, 1), (5, 2)))
    ids = np.arange(1, 701)
    index = GrowingIndex(dim, 10_000)
    for first in range(0, 700, 90):  # the first ones choose how all are rounded
        index.add(ids[first : first + 90], vectors[first : first + 90])
    exact = ExactIndex(ids, vectors)
    assert index.grown().rounded is not None
    for query in [*queries, *vectors[:3]]:
        true = exact.nearest_to_vector(query, 700)
        for place in (0, 12, 300, 699):
            within = true.distances[place]
            near = sum(distance <= within for distance in true.distances)
            found = index.grown().nearest(query, 700, within=within)
            assert (found.logo_ids[:near], found.distances[:near]) == (true.logo_ids[:near], true.distances[:near])
            assert index.grown().nearest(query, 5, within=within).logo_ids[:near] == true.logo_ids[: min(5, near)]


def test_most_logos_are_ruled_out_by_rounded_vectors() -> None:
    vectors = some_vectors(5001, 512, latent=12)
    rounded = RoundedVectors(vectors[:5000], 6000)
    apart = np.linalg.norm(vectors[:5000].astype(float) - vectors[5000], axis=1)
    within = float(np.sort(apart)[9])
    found = rounded.nearer(vectors[5000], 5000, within)
    assert {*np.flatnonzero(apart <= within).tolist()} <= {*found.tolist()}
    assert len(found) < 250


def test_most_logos_are_excluded_by_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    distances = growing.Grown._distances

    def counted(self: growing.Grown, query: Vectors, rows: NDArray[np.intp]) -> Vectors:
        measured.append(len(rows))
        return distances(self, query, rows)

    monkeypatch.setattr(growing.Grown, "_distances", counted)
    index = GrowingIndex(512, 10_000)
    index.add(np.arange(1, 5001), some_vectors(5000, 512, latent=12))
    index.grown().nearest(some_vectors(1, 512, latent=12, seed=1)[0], 10)
    assert sum(measured) < 20


changes = st.lists(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 99)), min_size=1, max_size=9), max_size=12)


@examples(60)
@given(changes=changes, most=st.sampled_from([1, 4, 12, 100]), among=st.sets(st.integers(1, 30)))
def test_the_newest_vector_of_each_of_the_newest_logos_is_searched(
    changes: list[list[tuple[int, int]]], most: int, among: set[int]
) -> None:
    drawn = spread_evenly(100, 3)
    index, here = GrowingIndex(DIM, most), dict[int, int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "_LEAST_ROOM", 2)
        for added in changes:
            before, was = index.grown(), dict(here)
            bulk = dict(added)
            index.add(np.array([*bulk], np.int64), drawn[[*bulk.values()]])
            for logo_id, place in bulk.items():
                here.pop(logo_id, None)
                here[logo_id] = place
            here = dict([*here.items()][-most:])
            now = index.grown()
            for grown, due in ((before, was), (now, here)):
                found = grown.nearest(drawn[0], 100)
                apart = {
                    i: float(np.float32(np.linalg.norm(drawn[0].astype(float) - drawn[p]))) for i, p in due.items()
                }
                shown = {i: d for i, d in zip(found.logo_ids, found.distances, strict=True) if i in due}
                assert shown == apart
                assert all((logo_id in grown) == (logo_id in due) for logo_id in range(1, 31))
                assert all((grown.vector(logo_id) == drawn[place]).all() for logo_id, place in due.items())
            assert (len(now), sorted(now.nearest(drawn[0], 100).logo_ids)) == (len(here), sorted(here))
            assert all((logo_id in now) == (logo_id in here) for logo_id in range(1, 31))
            assert now.absent(np.arange(1, 31)).tolist() == [i for i in range(1, 31) if i not in here]
            some = now.among(np.array(sorted(among), np.int64))
            assert set(some.nearest(drawn[0], 100).logo_ids) == here.keys() & among
            assert all(now.vector(i).tolist() == drawn[p].tolist() for i, p in here.items())


def test_what_cannot_be_searched_is_refused() -> None:
    grown = GrowingIndex(DIM, 10).grown()
    assert grown.nearest(np.zeros(DIM, np.float32), 5).logo_ids == []
    for vector, error in ((np.zeros(3), DimensionError), (np.full(DIM, 1e30), UnusableVectorError)):
        with pytest.raises(error):
            grown.nearest(vector.astype(np.float32), 5)
    with pytest.raises(ValueError, match="at least 1"):
        grown.nearest(np.zeros(DIM, np.float32), 0)
    with pytest.raises(KeyError):
        grown.vector(7)
