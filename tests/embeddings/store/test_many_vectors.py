"""Many vectors at once, as an index of lists asks for them, and what a snapshot tells of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from tests.embeddings.damage import damage_embedding

STAMP = ModelStamp("m", "d")


def vectors_of(ids: range) -> NDArray[np.float32]:
    return np.array([[logo_id, logo_id + 0.5, -logo_id] for logo_id in ids], np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.hdf5"
    prepare_store(path, capacity=10_000, dim=3, stamp=STAMP)
    with EmbeddingStore(path) as store:
        store.append(range(1, 5001), vectors_of(range(1, 5001)))
    return path


def test_vectors_come_in_the_order_asked_for(path: Path) -> None:
    with EmbeddingStore(path) as store:
        found = store.vectors(np.array([4000, 7, 4000, 5000]))
        np.testing.assert_array_equal(found[:, 0], [4000, 7, 4000, 5000])
        assert store.vectors(np.array([], np.int64)).shape == (0, 3)


def test_what_is_not_stored_or_damaged_is_a_row_of_nan(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage_embedding(path, 6)
    with EmbeddingStore(path) as store:
        for _ in range(2):
            found = store.vectors(np.array([6, 7, 999_999, 8]))
        assert np.isnan(found).all(axis=1).tolist() == [False, True, True, False]
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "of logos 7: see `verify`" in told


def test_logos_of_other_processes_and_new_files_are_found(path: Path) -> None:
    with EmbeddingStore(path) as store, EmbeddingStore(path) as other:
        other.append([9001], vectors_of(range(9001, 9002)))
        np.testing.assert_array_equal(store.vectors(np.array([9001, 3]))[:, 0], [9001, 3])
        other.delete([1, 2])
        rewrite_store(path)
        np.testing.assert_array_equal(store.vectors(np.array([9001, 3]))[:, 0], [9001, 3])
        assert np.isnan(store.vectors(np.array([1]))).all()


def test_a_sample_is_of_stored_logos_each_once(path: Path) -> None:
    damage_embedding(path, 6)
    with EmbeddingStore(path) as store:
        store.delete([10])
        snapshot = store.snapshot()
        ids, vectors = snapshot.sample(10_000, seed=1)
        assert sorted(ids.tolist()) == [i for i in range(1, 5001) if i not in (7, 10)]
        np.testing.assert_array_equal(vectors[:, 0], ids)
        some, _ = snapshot.sample(100, seed=1)
        assert len(set(some.tolist())) == 100
        assert some.tolist() != snapshot.sample(100, seed=2)[0].tolist()


def test_a_checksum_tells_whether_a_vector_is_the_same(path: Path) -> None:
    with EmbeddingStore(path) as store:
        before = store.snapshot().checksums()
        store.delete([5000])
        store.append([5000], vectors_of(range(1, 2)))
        after = store.snapshot().checksums()
    assert len(before) == len(after) == 5000
    np.testing.assert_array_equal(before[:-1], after[:-1])
    assert before[-1] != after[-1]


def test_blocks_of_some_places_hold_those(path: Path) -> None:
    damage_embedding(path, 4500)
    places = np.array([0, 1, 4095, 4096, 4500, 4999])
    with EmbeddingStore(path) as store:
        snapshot = store.snapshot()
        blocks = list(snapshot.blocks_of(places))
        assert np.concatenate([at for at, _, _ in blocks]).tolist() == [0, 1, 4095, 4096, 4999]
        assert np.concatenate([ids for _, ids, _ in blocks]).tolist() == [1, 2, 4096, 4097, 5000]
        assert np.concatenate([vectors for _, _, vectors in blocks])[:, 0].tolist() == [1, 2, 4096, 4097, 5000]
        assert snapshot.damaged == 1
