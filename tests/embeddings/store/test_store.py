"""Logos that are appended come back bit for bit, to every process, until they are deleted."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.errors import (
    DamagedRowError,
    StoreFullError,
)
from embeddings.store.damaged_rows import DamagedRow
from embeddings.store.id_table import MAX_ID, WINDOW
from embeddings.store.store import EmbeddingStore
from tests.embeddings.damage import damage_embedding
from tests.stores import DIM, STAMP, new_store, vectors


def test_what_was_stored_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    embeddings = vectors(3)
    assert store.append([30, 10, 20], embeddings) == [30, 10, 20]
    assert [store.get(logo_id).tobytes() for logo_id in (30, 10, 20)] == [row.tobytes() for row in embeddings]
    assert store.ids().tolist() == [30, 10, 20]
    assert len(store) == 3
    assert 10 in store


def test_a_store_is_the_same_when_opened_again(tmp_path: Path) -> None:
    embeddings = vectors(2)
    with new_store(tmp_path / "s.hdf5") as store:
        store.append([1, MAX_ID], embeddings)
    store = EmbeddingStore(tmp_path / "s.hdf5")
    assert store.ids().tolist() == [1, MAX_ID]
    assert np.array_equal(store.get(MAX_ID), embeddings[1])
    assert (store.capacity, store.dim, store.stamp) == (100, DIM, STAMP)


def test_an_empty_store_knows_nothing(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    assert len(store) == 0
    assert store.ids().tolist() == []
    assert [*store.snapshot().blocks()] == []
    assert store.append([], np.zeros((0, DIM), np.float32)) == []


@pytest.mark.parametrize("logo_id", [7, 0, -1, MAX_ID + 1])
def test_an_unknown_logo_is_a_key_error_and_nothing_to_delete(tmp_path: Path, logo_id: int) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    assert logo_id not in store
    with pytest.raises(KeyError):
        store.get(logo_id)
    assert store.delete([logo_id]) == []


def test_what_one_process_stores_the_others_know_at_once(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    other = EmbeddingStore(tmp_path / "s.hdf5")
    for logo_id in range(1, 20):
        store.append([logo_id], vectors(1))
        assert logo_id in other
        other.append([100 + logo_id], vectors(1))
        assert store.missing([100 + logo_id]) == []
    assert store.ids().tolist() == other.ids().tolist()


def test_ids_stored_before_are_left_out(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    embeddings = vectors(4)
    store.append([1, 2], embeddings[:2])
    assert store.append([3, 1, 4, 2], embeddings[::-1]) == [3, 4]
    assert store.append([1, 2, 3, 4], embeddings) == []
    assert store.ids().tolist() == [1, 2, 3, 4]
    assert np.array_equal(store.get(1), embeddings[0])
    assert np.array_equal(store.get(4), embeddings[1])


def test_of_an_id_given_twice_the_first_is_stored(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    embeddings = vectors(4)
    assert store.append([5, 6, 5, 7], embeddings) == [5, 6, 7]
    assert [np.array_equal(store.get(i), embeddings[k]) for i, k in ((5, 0), (6, 1), (7, 3))] == [True] * 3


def test_missing_names_each_unknown_id_once_in_order(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1, 2], vectors(2))
    assert store.missing([9, 1, 8, 9, 2, 7]) == [9, 8, 7]
    assert store.missing([2, 1]) == []
    assert store.missing([]) == []


def test_more_than_one_batch_is_stored_in_order(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=3 * WINDOW)
    ids = np.arange(1, 2 * WINDOW + 100)
    embeddings = vectors(len(ids))
    assert store.append(ids, embeddings) == ids.tolist()
    assert np.array_equal(store.ids(), ids)
    assert np.array_equal(store.get(WINDOW + 1), embeddings[WINDOW])


@pytest.mark.parametrize(
    ("logo_ids", "embeddings", "message"),
    [
        ([0], vectors(1), "from 1 to"),
        ([-3], vectors(1), "from 1 to"),
        ([2**63], vectors(1), "from 1 to"),
        ([1.5], vectors(1), "must be an integer"),
        (["1"], vectors(1), "must be an integer"),
        ([1], vectors(2), "shape"),
        ([1], vectors(1)[0], "shape"),
        ([1], vectors(1, DIM + 1), "shape"),
        ([], vectors(1), "shape"),
        ([1], np.array([[1, 2, np.nan, 4]], np.float32), "finite"),
        ([1], np.array([[1, 2, 3, 1e300]]), "finite"),
    ],
)
def test_what_cannot_be_an_embedding_is_refused(tmp_path: Path, logo_ids: Any, embeddings: Any, message: str) -> None:
    store = new_store(tmp_path / "s.hdf5")
    with pytest.raises(ValueError, match=message):
        store.append(logo_ids, embeddings)
    assert len(store) == 0


def test_a_full_store_says_how_to_grow(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=3)
    store.append([1, 2], vectors(2))
    with pytest.raises(StoreFullError, match=r"3 rows, 1 of them free, but 2 .* grow"):
        store.append([1, 3, 4], vectors(3))
    assert store.append([3], vectors(1)) == [3]
    with pytest.raises(StoreFullError, match="0 of them free"):
        store.append([4], vectors(1))
    assert store.append([1, 2, 3], vectors(3)) == []
    assert store.ids().tolist() == [1, 2, 3]


def test_a_deleted_logo_is_unknown_everywhere_and_may_come_again(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    other = EmbeddingStore(tmp_path / "s.hdf5")
    store.append([1, 2, 3], vectors(3))
    assert 2 in other
    store.delete([2])
    for anyone in (store, other, EmbeddingStore(tmp_path / "s.hdf5")):
        assert 2 not in anyone
        assert anyone.missing([1, 2]) == [2]
        assert anyone.ids().tolist() == [1, 3]
        assert len(anyone) == 2
        assert [ids.tolist() for ids, _ in anyone.snapshot().blocks()] == [[1, 3]]
    anew = vectors(7)[6:]
    assert other.append([2], anew) == [2]
    assert np.array_equal(store.get(2), anew[0])
    assert store.ids().tolist() == [1, 3, 2]


def test_a_damaged_row_is_never_handed_out(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    embeddings = vectors(3)
    store.append([1, 2, 3], embeddings)
    damage_embedding(store.path, row=1)
    with pytest.raises(DamagedRowError, match="logo 2 "):
        store.get(2)
    assert np.array_equal(store.get(3), embeddings[2])
    assert [*store.verify()] == [DamagedRow(row=1, logo_id=2)]


def test_verify_tells_how_far_it_is(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=2 * WINDOW)
    store.append(range(1, WINDOW + 11), vectors(WINDOW + 10))
    done: list[int] = []
    assert [*store.verify(done.append)] == []
    assert done == [WINDOW, 10]


def test_many_threads_store_and_read_at_once(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=1000)
    embeddings = vectors(600)
    wrong: list[int] = []
    new: list[int] = []

    def work(first: int) -> None:
        for logo_id in range(first, first + 100):  # each id by two threads
            new.extend(store.append([logo_id], embeddings[logo_id - 1 : logo_id]))
            if not np.array_equal(store.get(logo_id), embeddings[logo_id - 1]):
                wrong.append(logo_id)

    threads = [threading.Thread(target=work, args=(first,)) for first in (1, 51, 101, 151, 201, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sorted(new) == sorted(store.ids().tolist()) == [*range(1, 301)]
