"""A backup is stopped as it is brought up to date: no logo is missing, and one that lies in two rows counts once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.maintenance.backup import backup_store, restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from tests.embeddings.damage import DIM, damage_embedding, store_of
from torture.expectation import Expectation, provenance_of, vectors_of

WRITES = 4  # of a block: embeddings, checksums, provenance, ids


class StoppedError(Exception):
    """Ends a run between two writes."""


def back_up_until(store: EmbeddingStore, backup: Path, writes: int, *, block: int = 4096) -> bool:
    """Run a backup, which copies `block` rows at a time, up to so many writes; tell whether that stopped it."""
    write, left = StoreFile._write, [None] * writes

    def write_some(file: StoreFile, offset: int, array: NDArray[np.generic]) -> None:
        if not left:
            raise StoppedError
        left.pop()
        write(file, offset, array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embeddings.maintenance.backup.WINDOW", block)
        patch.setattr(StoreFile, "_write", write_some)
        try:
            backup_store(store.path, backup)
        except StoppedError:
            return True
    return False


def add(store: EmbeddingStore, *ids: int) -> None:
    assert store.append(ids, vectors_of(ids, DIM), provenance_of(ids)) == [*ids]


def delete_and_add_again(store: EmbeddingStore, *ids: int) -> None:
    assert store.delete(ids) == [*ids]
    add(store, *ids)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return store_of(tmp_path / "s.hdf5", 1, 2, 3)


@pytest.fixture
def backup(store: EmbeddingStore, tmp_path: Path) -> Path:
    """A backup that holds logo 2 in two rows: its run was stopped before it took the deletions over."""
    path = tmp_path / "b.hdf5"
    backup_store(store.path, path)
    store.delete([1])
    add(store, 4)
    delete_and_add_again(store, 2)
    assert back_up_until(store, path, WRITES)
    assert slots_of(path) == [1, 2, 3, 4, 2]
    return path


def slots_of(path: Path) -> Sequence[int]:
    slots: list[int] = np.trim_zeros(StoreFile(path, writable=False).ids(0, 100), "b").tolist()
    return slots


def test_a_run_that_is_stopped_at_any_write_loses_nothing(tmp_path: Path) -> None:
    store, saved, backup = store_of(tmp_path / "s.hdf5", *range(1, 21)), tmp_path / "saved.hdf5", tmp_path / "b.hdf5"
    backup_store(store.path, saved)
    gone = {1, 5, 7, 13}
    store.delete([*gone])
    add(store, *range(21, 28))
    delete_and_add_again(store, 3, 9, 11)
    kept = Expectation({*range(1, 21)} - gone)
    for writes in itertools.count():
        backup.write_bytes(saved.read_bytes())
        stopped = back_up_until(store, backup, writes, block=4)
        assert kept.losses(backup, unfinished=stopped) == []
        restored = tmp_path / f"{writes}.hdf5"
        restore_store(backup, restored)
        assert kept.losses(restored) == []
        if not stopped:
            break
        back_up_until(store, backup, writes // 2, block=4)
        assert kept.losses(backup, unfinished=True) == []
        backup_store(store.path, backup)
        assert Expectation({*range(1, 28)} - gone, gone).losses(backup) == []
    assert writes == 3 * WRITES + len(gone) + 3


def test_of_two_rows_of_a_logo_the_later_holds(backup: Path) -> None:
    saved = EmbeddingStore(backup, writable=False)
    assert saved.ids().tolist() == saved.snapshot().ids.tolist() == [1, 3, 4, 2]
    assert len(saved) == 4
    assert saved.settled()[1].tolist() == [1, -2, 3, 4, 2]


def test_also_where_both_were_read_as_the_file_was_opened(store: EmbeddingStore, backup: Path) -> None:
    many = range(100, 100 + 5000)
    large = store_of(store.path.with_name("large.hdf5"), 1, 2, 3, *many, capacity=10_000)
    path = backup.with_name("large backup.hdf5")
    backup_store(large.path, path)
    delete_and_add_again(large, 2)
    add(large, *range(10_000, 14_200))
    assert back_up_until(large, path, 2 * WRITES)
    saved = EmbeddingStore(path, writable=False)
    assert saved.ids().tolist() == large.ids().tolist()
    assert saved.settled()[1][1] == -2


def test_a_damaged_row_holds_no_logo_that_an_earlier_one_holds(backup: Path) -> None:
    damage_embedding(backup, row=4)
    saved = EmbeddingStore(backup, writable=False)
    assert np.array_equal(saved.get(2), vectors_of([2], DIM)[0])
    assert slots_of(backup) == [1, 2, 3, 4, 2]
    with EmbeddingStore(backup) as written:
        add(written, 9)
    assert slots_of(backup) == [1, 2, 3, 4, 2, 9]


def test_a_logo_in_two_rows_is_deleted_from_both(backup: Path) -> None:
    with EmbeddingStore(backup) as saved:
        assert saved.delete([2]) == [2]
        assert saved.delete([2]) == []
    assert Expectation({1, 3, 4}, {2}).losses(backup) == []


def test_whoever_writes_into_a_backup_ends_the_deletions(backup: Path) -> None:
    with EmbeddingStore(backup) as saved, EmbeddingStore(backup) as other:
        add(saved, 9)
        add(other, 10)
        assert saved.ids().tolist() == other.ids().tolist() == [1, 3, 4, 2, 9, 10]
    assert Expectation({1, 2, 3, 4, 9, 10}).losses(backup) == []


def test_a_compaction_keeps_a_logo_of_two_rows(backup: Path) -> None:
    rewrite_store(backup)
    assert Expectation({1, 2, 3, 4}).losses(backup) == []


def test_a_reader_follows_a_backup_that_goes_on(store: EmbeddingStore, backup: Path) -> None:
    reader = EmbeddingStore(backup, writable=False)
    delete_and_add_again(store, 3, 2)
    assert back_up_until(store, backup, WRITES)
    assert reader.ids().tolist() == [1, 4, 3, 2]
    backup_store(store.path, backup)
    assert reader.ids().tolist() == [4, 3, 2]
    assert [logo_id in reader for logo_id in (1, 2, 3, 4)] == [False, True, True, True]


def test_a_row_that_was_put_aside_stays_until_a_later_one_holds_its_logo(store: EmbeddingStore, tmp_path: Path) -> None:
    backup = tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    everything = Expectation({1, 2, 3})
    for row in (1, 3):  # logo 2 rots, is added again, and rots again
        damage_embedding(store.path, row)
        backup_store(store.path, backup)
        assert repair_store(store.path).quarantined == [2]
        backup_store(store.path, backup)
        assert everything.losses(backup) == []
        with EmbeddingStore(store.path) as mended:
            add(mended, 2)
        assert back_up_until(store, backup, WRITES)
        assert everything.losses(backup, unfinished=True) == []
    damage_embedding(store.path, row=4)
    assert repair_store(store.path).quarantined == [2]
    assert backup_store(store.path, backup).logos == 3
    assert slots_of(backup) == [1, -2, 3, -2, 2]
    assert everything.losses(backup) == []
