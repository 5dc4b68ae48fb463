"""The wrappers of a search are indexes themselves: they must equal an exact index of the same logos."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.journeys.unindexed import UnindexedLogos
from api.journeys.without_deleted import WithoutDeleted
from index.exact import ExactIndex
from index.protocol import SearchIndex
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
