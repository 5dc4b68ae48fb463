"""What a collection answers is held to exact search."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from index.errors import UnusableVectorError
from index.exact import ExactIndex
from index.milvus import collections
from index.milvus.client import Milvus
from index.milvus.collections import Record
from index.milvus.engine import MOST_NEIGHBOURS, MilvusSearchIndex
from index.milvus.feed import send_vectors
from index.protocol import Neighbours, SearchIndex
from tests.index.samples import some_logos
from tests.milvus.samples import (
    DIM,
    assert_same,
    index_of,
    milvus_at,
    new_collection,
    new_index,
    some_vectors,
    vectors_of,
)
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer


@pytest.mark.parametrize("kind", ["FLAT", "HNSW"])
def test_it_answers_as_exact_search_does(milvus: MilvusServer, kind: str) -> None:
    logos = some_logos(1200)
    ids, exact, client = logos[0].tolist(), ExactIndex(*logos), milvus_at(milvus)
    index = index_of(client, new_collection(client, logos, kind=kind, sealed=kind == "HNSW"), logos, effort=2000)
    elsewhere = index_of(
        client, index.collection, effort=2000
    )  # of a machine that stores no logo: the engine knows the vectors

    assert (len(index), index.dim) == (1200, DIM)
    for count in (1, 10, 100, 1000, 5000, MOST_NEIGHBOURS + 1):
        assert_same(index.nearest_to_logo(ids[7], count), exact.nearest_to_logo(ids[7], count))
        assert_same(index.nearest_to_vector(logos[1][8], count), exact.nearest_to_vector(logos[1][8], count))
        assert_same(elsewhere.nearest_to_logo(ids[9], count), exact.nearest_to_logo(ids[9], count))
    many = index.prefetched(ids[:70], 12)
    for logo_id in ids[:70]:
        assert_same(many.nearest_to_logo(logo_id, 12), exact.nearest_to_logo(logo_id, 12))
    assert index.nearest_to_logo(ids[7], 1) == Neighbours([ids[7]], [0.0])


def test_long_vectors_that_are_near_each_other_keep_their_distances(milvus: MilvusServer) -> None:
    """Squares of lengths, and products, of which some engines make distances, would leave nothing of these."""
    ids, vectors = some_logos(64)
    logos = ids, vectors + np.float32(300)
    index, exact = new_index(milvus_at(milvus), logos), ExactIndex(*logos)

    for asked in (index, index.prefetched(ids.tolist(), 20)):
        for logo_id in ids[:10].tolist():
            assert_same(asked.nearest_to_logo(logo_id, 20), exact.nearest_to_logo(logo_id, 20))


def test_a_logo_comes_first_among_its_copies(milvus: MilvusServer) -> None:
    ids, vectors = some_logos(60)
    vectors[:50] = vectors[0]
    index = new_index(milvus_at(milvus), (ids, vectors))

    for logo_id, count in itertools.product(ids[[0, 25, 49]].tolist(), (1, 3, 60)):
        for found in (
            index.nearest_to_logo(logo_id, count),
            index.prefetched(ids.tolist(), count).nearest_to_logo(logo_id, count),
        ):
            assert found.logo_ids[0] == logo_id
            assert len(set(found.logo_ids)) == count
            assert set(found.logo_ids[: min(count, 50)]) <= set(ids[:50].tolist())
            assert found.distances[: min(count, 50)] == [0.0] * min(count, 50)


def test_what_is_not_indexed_is_not_known(lite: LiteServer) -> None:
    logos, other = some_logos(50), (np.array([777]), np.ones((1, DIM), np.float32))
    client = milvus_at(lite)
    index = index_of(client, new_collection(client, logos), logos, other)
    indexed = logos[0].tolist()

    assert [logo_id in index for logo_id in (indexed[0], 777, 778)] == [True, False, False]
    asked = np.array([777, indexed[3], 778, indexed[2], 777])
    assert index.absent(asked).tolist() == [777, 778, 777]
    assert index.absent(asked, strong=True).tolist() == [777, 778, 777]
    assert index.absent(np.array([], np.int64)).tolist() == []
    for logo_id in (777, 778):
        with pytest.raises(KeyError):
            index.nearest_to_logo(logo_id, 5)


@pytest.mark.parametrize("logo_id", [0, -1, -(2**63), 2**63, 2**70])
def test_numbers_that_are_no_ids_are_not_known(lite: LiteServer, logo_id: int) -> None:
    logos = some_logos(5)
    index = new_index(milvus_at(lite), logos)

    assert logo_id not in index
    with pytest.raises(KeyError):
        index.nearest_to_logo(logo_id, 5)
    with pytest.raises(KeyError):
        index.prefetched([logo_id, int(logos[0][0])], 5).nearest_to_logo(logo_id, 5)


def test_the_largest_id_is_known(lite: LiteServer) -> None:
    logos = np.array([2**63 - 1, 2**53 + 1, 2**53]), some_logos(3)[1]
    index, exact = new_index(milvus_at(lite), logos), ExactIndex(*logos)

    for logo_id in logos[0].tolist():
        assert logo_id in index
        assert_same(index.nearest_to_logo(logo_id, 3), exact.nearest_to_logo(logo_id, 3))


def test_a_batch_knows_which_logos_are_not_indexed(lite: LiteServer) -> None:
    logos, stored_only = some_logos(50), (np.array([777, 778]), some_logos(2, seed=3)[1])
    client = milvus_at(lite)
    index = index_of(client, new_collection(client, logos), logos, stored_only)
    ids = logos[0].tolist()

    known = index.prefetched([777, ids[0], 778, 999, ids[1]], 5)

    for logo_id in (777, 778, 999):
        with pytest.raises(KeyError):
            known.nearest_to_logo(logo_id, 5)
    assert known.nearest_to_logo(ids[1], 5) == index.nearest_to_logo(ids[1], 5)


@pytest.mark.parametrize("count", [0, -1])
def test_no_neighbours_are_no_question(lite: LiteServer, count: int) -> None:
    logos = some_logos(5)
    index, ids = new_index(milvus_at(lite), logos), logos[0].tolist()
    for ask in (
        lambda: index.nearest_to_logo(ids[0], count),
        lambda: index.nearest_to_vector(logos[1][0], count),
        lambda: index.prefetched(ids, count),
    ):
        with pytest.raises(ValueError, match="at least 1"):
            ask()


def test_a_logo_that_is_stored_elsewhere_has_the_vector_of_the_engine(lite: LiteServer) -> None:
    """As on a machine that has no store, or not all of it; or where a row of it is damaged."""
    logos, exact = some_logos(60), ExactIndex(*some_logos(60))
    half = logos[0][:30], logos[1][:30]
    client = milvus_at(lite, rows_a_message=7)
    index, ids = index_of(client, new_collection(client, logos), half), logos[0].tolist()

    known = index.prefetched(ids, 9)

    for logo_id in ids:
        assert_same(known.nearest_to_logo(logo_id, 9), exact.nearest_to_logo(logo_id, 9))
    assert_same(index.nearest_to_logo(ids[59], 9), exact.nearest_to_logo(ids[59], 9))


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**62])
def test_a_vector_without_distances_is_refused(lite: LiteServer, value: float) -> None:
    index = new_index(milvus_at(lite), some_logos(5))
    with pytest.raises(UnusableVectorError):
        index.nearest_to_vector(np.full(DIM, value, np.float32), 3)


def test_a_logo_sent_twice_is_there_once_with_its_last_vector(milvus: MilvusServer) -> None:
    (ids, vectors), client = some_logos(30), milvus_at(milvus)
    collection = new_collection(client, (ids, vectors))
    moved = ids, vectors + np.linspace(0, 3, 30, dtype=np.float32)[:, np.newaxis]

    send_vectors(client, collection, *moved)
    index, exact = index_of(client, collection, moved), ExactIndex(*moved)

    assert not len(index.absent(ids, strong=True))  # from now on it is found
    for logo_id in ids[:3].tolist():
        assert_same(index.nearest_to_logo(logo_id, 100), exact.nearest_to_logo(logo_id, 100))


def test_a_logo_that_was_sent_after_the_build_is_found_and_is_not_its_own_neighbour(milvus: MilvusServer) -> None:
    logos, later, client = some_logos(40), some_vectors([777, 778]), milvus_at(milvus)
    collection = new_collection(client, logos)
    send_vectors(client, collection, *later, in_build=False)
    both = np.concatenate([logos[0], later[0]]), np.concatenate([logos[1], later[1]])
    exact, ids = ExactIndex(*both), both[0].tolist()

    for index in (index_of(client, collection, both), index_of(client, collection)):
        assert not len(index.absent(both[0], strong=True))  # from now on it is found
        assert index.of_build(both[0]).tolist() == logos[0].tolist()
        for count, asked in itertools.product((1, 5, 100), (index, index.prefetched(ids, 5))):
            for logo_id in ids[-4:-2]:
                assert_same(asked.nearest_to_logo(logo_id, count), exact.nearest_to_logo(logo_id, count))
            for logo_id, vector in zip(later[0].tolist(), later[1], strict=True):
                rest = ExactIndex(both[0][both[0] != logo_id], both[1][both[0] != logo_id])
                assert_same(asked.nearest_to_logo(logo_id, count), rest.nearest_to_vector(vector, count))
    stored_logo = itertools.cycle([777, 778]).__next__
    drawn = {MilvusSearchIndex(client, collection, vectors_of(), 1, stored_logo=stored_logo).random_logo() for _ in ids}
    assert drawn <= set(logos[0].tolist())


def test_all_logos_of_a_collection_that_marks_none_are_indexed(
    lite: LiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier builds made them."""
    import pymilvus

    def without_marks(self: Milvus, dim: int) -> Any:
        schema = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("logo_id", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("embedding", pymilvus.DataType.FLOAT_VECTOR, dim=dim)
        return schema

    monkeypatch.setattr(Milvus, "schema", without_marks)
    logos, client = some_logos(20), milvus_at(lite)
    collections.create(client, "logos_index", dim=DIM, record=Record("index", "", "", "FLAT"), params={}, shards=1)
    client.call("load_collection", "logos_index", seconds=30)
    collection = collections.describe(client, "logos_index")
    assert collection is not None
    send_vectors(client, collection, *logos, in_build=False)
    index, exact, ids = index_of(client, collection, logos), ExactIndex(*logos), logos[0].tolist()

    assert not len(index.absent(logos[0], strong=True))
    for asked in (index, index.prefetched(ids, 5)):
        assert_same(asked.nearest_to_logo(ids[0], 5), exact.nearest_to_logo(ids[0], 5))
    assert index.random_logo() in ids
    assert index.of_build(logos[0]).tolist() == ids


def test_an_empty_collection_has_no_random_logo_whatever_is_stored(lite: LiteServer) -> None:
    client = milvus_at(lite)
    collection = new_collection(client, (np.array([], np.int64), np.empty((0, DIM), np.float32)))
    index: SearchIndex = MilvusSearchIndex(client, collection, vectors_of(), 1, stored_logo=lambda: 5)

    assert index.random_logo() is None
    assert index.nearest_to_vector(np.zeros(DIM, np.float32), 10) == Neighbours([], [])
