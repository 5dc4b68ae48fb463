"""The wrappers of a search are indexes themselves: they must equal an exact index of the same logos."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from api.journeys.logo_attributes import LogoAttributes
from api.journeys.matching import Filters
from api.journeys.unindexed import UnindexedLogos
from api.journeys.within import Within
from api.journeys.without_deleted import WithoutDeleted
from embeddings.attributes.filters import parse_where
from index.exact import ExactIndex
from index.protocol import Neighbours, SearchIndex
from tests.original_files import random_vectors
from tests.properties import examples
from tests.stores import new_store

IDS = [*range(11, 41)]
INDEXED = IDS[:20]
VECTORS = random_vectors(len(IDS), seed=5)[:, :6].copy()


def of(ids: Collection[int]) -> ExactIndex:
    return ExactIndex([*ids], VECTORS[[logo_id - IDS[0] for logo_id in ids]])


def assert_searches_like(index: SearchIndex, exact: ExactIndex, *, not_indexed: Collection[int] = ()) -> None:
    held = [logo_id for logo_id in IDS if logo_id in exact]
    for count in (1, 4, 100):
        for vector in VECTORS[::7]:
            assert index.nearest_to_vector(vector, count) == exact.nearest_to_vector(vector, count)
        prefetched = index.prefetched(held, count)
        for logo_id in held:
            itself = logo_id not in not_indexed
            expected = exact.nearest_to_logo(logo_id, count if itself else count + 1)
            for asked in (index, prefetched):
                found = asked.nearest_to_logo(logo_id, count)
                assert found.logo_ids == (expected.logo_ids if itself else expected.logo_ids[1:])
                assert found.distances == (expected.distances if itself else expected.distances[1:])
    ids = np.array([3, *reversed(IDS)])
    assert index.absent(ids).tolist() == [logo_id for logo_id in ids.tolist() if logo_id not in held]
    assert [logo_id for logo_id in IDS if logo_id in index] == held
    assert index.dim == exact.dim
    for logo_id in {3, *IDS}.difference(held):
        with pytest.raises(KeyError):
            index.nearest_to_logo(logo_id, 1)


@examples(40)
@given(deleted=st.sets(st.sampled_from(IDS)))
def test_without_deleted_logos_an_index_is_one_of_the_others(deleted: set[int]) -> None:
    left = [logo_id for logo_id in IDS if logo_id not in deleted]
    index = WithoutDeleted(of(IDS), deleted.intersection)
    assert_searches_like(index, of(left))
    assert index.random_logo() in (left or [None])


@examples(40)
@given(deleted=st.sets(st.sampled_from(IDS)))
def test_with_unindexed_logos_an_index_is_one_of_all(
    tmp_path_factory: pytest.TempPathFactory, deleted: set[int]
) -> None:
    path = tmp_path_factory.mktemp("store") / "s.hdf5"
    index = of(INDEXED)
    with new_store(path, dim=6) as store:
        unindexed = UnindexedLogos(store, 100)
        assert unindexed.beside(index) is index
        store.append(IDS, VECTORS)
        both = unindexed.beside(index)
        not_indexed = set(IDS) - set(INDEXED)
        assert_searches_like(both, of(IDS), not_indexed=not_indexed)
        assert (len(both), both.random_logo() in INDEXED) == (len(IDS), True)
        store.delete([*deleted])
        left = [logo_id for logo_id in IDS if logo_id not in deleted]
        assert_searches_like(WithoutDeleted(both, store.deleted_among), of(left), not_indexed=not_indexed)


class CountedIndex(ExactIndex):
    """An exact index that notes what it is asked for."""

    asked: list[int]

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        self.asked = [*getattr(self, "asked", []), count]
        return super().nearest_to_vector(vector, count)


@pytest.fixture
def attributes(tmp_path: Path) -> Iterator[LogoAttributes]:
    attributes = LogoAttributes(tmp_path / "s.hdf5")
    yield attributes
    attributes.close()


def vectors_of(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors of IDS, and NaN for any other logo."""
    padded = np.vstack([VECTORS, np.full((1, 6), np.nan, np.float32)])
    rows: NDArray[np.float32] = padded[[i - IDS[0] if i in IDS else -1 for i in ids.tolist()]]
    return rows


RED = parse_where("colour:red")


@examples(40)
@given(matching=st.sets(st.sampled_from([*IDS, 3, 99])), is_scan=st.booleans(), max_kept=st.sampled_from([0, 10, 99]))
def test_an_index_of_matching_logos_is_one_of_these_alone(
    tmp_path_factory: pytest.TempPathFactory, matching: set[int], is_scan: bool, max_kept: int
) -> None:
    attributes = LogoAttributes(tmp_path_factory.mktemp("attributes") / "s.hdf5")
    attributes.merge({logo_id: {"colour": "red"} for logo_id in matching})
    attributes.merge({IDS[0]: {"shape": "round"}})
    filters = Filters(attributes, vectors_of, max_kept=max_kept)
    all_logos = of(IDS)
    with pytest.MonkeyPatch.context() as patch:
        if not is_scan:
            patch.setattr("api.journeys.matching._SCANNED_KEPT", 0)
            patch.setattr("api.journeys.matching._SCANNED_READ", 0)
        index = filters.over(all_logos, RED, built=all_logos, moment=0)
        left = [logo_id for logo_id in IDS if logo_id in matching]
        assert_searches_like(index, of(left))
        assert index.random_logo() in (left or [None])
    attributes.close()


def test_few_matching_logos_are_scanned_and_of_many_the_index_is_asked(attributes: LogoAttributes) -> None:
    ids = np.arange(1, 20_001)
    vectors = np.random.default_rng(3).standard_normal((20_000, 4)).astype(np.float32)
    index = CountedIndex(ids, vectors)
    index.asked = []
    attributes.merge({i: {"colour": "blue" if i % 2 else "green", "rare": str(i % 200)} for i in ids.tolist()})
    filters = Filters(attributes, lambda some: vectors[some - 1])
    for where, step in (("colour:blue", 2), ("rare:1", 200)):
        found = filters.over(index, parse_where(where), built=index, moment=0).nearest_to_vector(vectors[7], 10)
        exact = ExactIndex(ids[::step], vectors[::step]).nearest_to_vector(vectors[7], 10)
        assert found == exact
    assert index.asked == [45]  # twice as many as 10 and three standard deviations


def test_logos_that_match_far_from_the_query_are_found_by_a_scan(attributes: LogoAttributes) -> None:
    ids = np.arange(1, 20_001)
    vectors = np.zeros((20_000, 2), np.float32)
    vectors[:, 0] = ids
    index = ExactIndex(ids, vectors)
    attributes.merge({i: {"colour": "blue"} for i in ids.tolist() if i > 10_000})
    matching = Filters(attributes, lambda some: vectors[some - 1]).over(
        index, parse_where("colour:blue"), built=index, moment=0
    )
    assert matching.nearest_to_vector(vectors[0], 3) == Neighbours([10_001, 10_002, 10_003], [10_000, 10_001, 10_002])


def test_vectors_of_rare_values_are_read_once_until_something_changes(attributes: LogoAttributes) -> None:
    read: list[int] = []
    moment = 0

    def vectors(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        read.append(len(ids))
        return vectors_of(ids)

    index, other = of(IDS), of(IDS)
    filters = Filters(attributes, vectors)

    def search(index: ExactIndex) -> list[int]:
        read.clear()
        filters.over(index, RED, built=index, moment=moment).nearest_to_vector(VECTORS[0], 5)
        return [*read]

    attributes.merge({logo_id: {"colour": "red"} for logo_id in IDS[:3]})
    assert [search(index), search(index)] == [[3], []]
    attributes.merge({IDS[3]: {"colour": "red"}})
    assert [search(index), search(index)] == [[4], []]
    moment = 1  # a vector was replaced
    assert [search(index), search(index)] == [[4], []]
    assert [search(other), search(other)] == [[4], []]


def test_neighbours_end_at_a_distance() -> None:
    index = of(IDS)
    everything = index.nearest_to_logo(IDS[0], 30)
    far = everything.distances[7]
    expected = Neighbours(everything.logo_ids[:8], everything.distances[:8])
    near = Within(index, far)
    assert near.nearest_to_logo(IDS[0], 30) == near.prefetched([IDS[0]], 30).nearest_to_logo(IDS[0], 30) == expected
    assert near.nearest_to_vector(VECTORS[0], 3).logo_ids == everything.logo_ids[:3]
