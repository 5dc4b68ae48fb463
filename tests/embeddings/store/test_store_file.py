"""A store follows its file: removed, replaced, linked to, of another layout, or locked by another writer."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from embeddings.errors import (
    StoreLayoutError,
    StoreModelError,
    StoreUnavailableError,
)
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.writer_lock import writer_lock
from tests.stores import DIM, new_store, vectors


def test_a_removed_file_is_still_read_and_no_longer_written(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1, 2], vectors(2))
    store.path.rename(tmp_path / "elsewhere")
    assert store.ids().tolist() == [1, 2]
    assert store.get(2).shape == (DIM,)
    with pytest.raises(StoreUnavailableError, match="is gone"):
        store.append([3], vectors(1))
    with pytest.raises(StoreUnavailableError, match="is gone"):
        store.delete([1])
    (tmp_path / "elsewhere").rename(store.path)
    assert store.append([3], vectors(1)) == [3]


def test_a_file_put_in_its_place_is_read_instead(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1, 2], vectors(2))
    before = store.snapshot()
    new_store(tmp_path / "other.hdf5", capacity=200).append([2, 3], vectors(2) + 1)
    (tmp_path / "other.hdf5").replace(store.path)
    assert 1 not in store
    assert np.array_equal(store.get(2), (vectors(2) + 1)[0])
    assert store.capacity == 200
    assert store.append([1], vectors(1)) == [1]
    assert store.ids().tolist() == [2, 3, 1]
    assert [ids.tolist() for ids, _ in before.blocks()] == [[1, 2]]


def test_a_store_of_another_model_in_its_place_is_refused(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    new_store(tmp_path / "other.hdf5", stamp=ModelStamp("b", "digest"))
    (tmp_path / "other.hdf5").replace(store.path)
    with pytest.raises(StoreModelError, match="another model"):
        store.missing([1])


def test_a_missing_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="No such file"):
        EmbeddingStore(tmp_path / "s.hdf5")


def test_the_layout_of_the_original_is_not_opened(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.hdf5", "w") as hdf5:
        hdf5.create_dataset("external_id", (10,), "i4", chunks=True)
        hdf5.create_dataset("embedding", (10, DIM), "f4", chunks=True)
    with pytest.raises(StoreLayoutError, match="migrate-store"):
        EmbeddingStore(tmp_path / "s.hdf5")


def test_a_closed_store_refuses_everything(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    snapshot = store.snapshot()
    store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        store.get(1)
    assert len([*snapshot.blocks()]) == 1


def test_a_store_opened_for_reading_writes_nothing(tmp_path: Path) -> None:
    writer = new_store(tmp_path / "s.hdf5")
    store = EmbeddingStore(tmp_path / "s.hdf5", writable=False)
    with pytest.raises(StoreUnavailableError, match="reading only"):
        store.append([1], vectors(1))
    assert [*tmp_path.iterdir()] == [store.path]
    writer.append([1], vectors(1))
    assert store.missing([1, 2]) == [2]


def test_during_a_rewrite_one_writer_waits_and_the_others_are_sent_away(tmp_path: Path) -> None:
    new_store(tmp_path / "s.hdf5")
    store = EmbeddingStore(tmp_path / "s.hdf5", wait_seconds=0.1)
    errors: list[str] = []

    def append(logo_id: int) -> None:
        try:
            store.append([logo_id], vectors(1))
        except StoreUnavailableError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=append, args=(logo_id,)) for logo_id in (1, 2, 3)]
    with writer_lock(store.path):
        for thread in threads:
            thread.start()
        while len(errors) < 2:
            assert len(store) == 0  # readers do not wait at all
    for thread in threads:
        thread.join()
    assert len(errors) == 2
    assert "try again later" in errors[0]
    assert len(store) == 1


def test_a_child_that_inherited_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    with writer_lock(tmp_path / "s.hdf5"):
        held = [link.name for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link).endswith(".lock")]
        inherited = os.dup(int(held[0]))
    try:
        with (tmp_path / "s.hdf5.lock").open() as side_file:
            fcntl.flock(side_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(inherited)


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot lock"), writer_lock(tmp_path / "nowhere" / "s.hdf5"):
        pass


def test_a_store_behind_a_link_is_locked_and_watched_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    new_store(tmp_path / "disk" / "s.hdf5").append([1], vectors(1))
    (tmp_path / "s.hdf5").symlink_to(tmp_path / "disk" / "s.hdf5")
    store = EmbeddingStore(tmp_path / "s.hdf5")
    assert store.append([2], vectors(1)) == [2]
    assert sorted(file.name for file in (tmp_path / "disk").iterdir()) == ["s.hdf5", "s.hdf5.lock"]
