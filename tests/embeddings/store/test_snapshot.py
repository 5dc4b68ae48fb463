"""A snapshot stays as it was, and holds no row that cannot be trusted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import (
    DamagedRowError,
)
from embeddings.store.store import EmbeddingStore
from tests.embeddings.damage import damage_embedding
from tests.stores import DIM, new_store, vectors


def test_a_snapshot_stays_as_it_was(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=20)
    embeddings = vectors(10)
    store.append(range(1, 11), embeddings)
    store.delete([5])
    snapshot = store.snapshot()
    store.delete([6])
    store.append([11], vectors(1))
    new_store(tmp_path / "other.hdf5")
    (tmp_path / "other.hdf5").replace(store.path)
    assert len(store) == 0
    expected = [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert (snapshot.ids.tolist(), len(snapshot), snapshot.dim) == (expected, 9, DIM)
    for rows in (1, 3, 4096):
        blocks = [*snapshot.blocks(rows)]
        assert max(len(ids) for ids, _ in blocks) <= rows
        assert np.concatenate([ids for ids, _ in blocks]).tolist() == expected
        assert np.array_equal(np.concatenate([block for _, block in blocks]), embeddings[np.array(expected) - 1])


def test_a_snapshot_leaves_out_damaged_rows_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = new_store(tmp_path / "s.hdf5")
    embeddings = vectors(5)
    store.append(range(1, 6), embeddings)
    snapshot = store.snapshot()
    damage_embedding(store.path, row=3)
    with caplog.at_level(logging.ERROR):
        blocks = [*snapshot.blocks()]
    assert [ids.tolist() for ids, _ in blocks] == [[1, 2, 3, 5]]
    assert np.array_equal(blocks[0][1], embeddings[[0, 1, 2, 4]])
    assert snapshot.damaged == 1
    assert "[4]" in caplog.text
    assert len([*snapshot.blocks(2)]) == 3
    assert snapshot.damaged == 1


def test_rows_that_cannot_be_believed_yet_are_in_no_list(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    reader = EmbeddingStore(store.path)
    store.append([1, 2, 3], vectors(3))
    damage_embedding(store.path, row=1)
    assert reader.ids().tolist() == [1, 3]
    assert len(reader) == 2
    assert reader.append([2], vectors(1)) == []  # under the lock it is known to be stored, and damaged
    assert reader.ids().tolist() == [1, 2, 3]


def test_a_row_that_nobody_is_writing_is_known_to_be_damaged(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    early = EmbeddingStore(store.path)
    store.append([1, 2, 3], vectors(3))
    damage_embedding(store.path, row=1)
    with pytest.raises(DamagedRowError, match="logo 2"):
        EmbeddingStore(store.path, writable=False).get(2)
    snapshot = early.snapshot()
    assert [ids.tolist() for ids, _ in snapshot.blocks()] == [[1, 3]]
    assert snapshot.damaged == 1
