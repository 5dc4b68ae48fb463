from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from embeddings.errors import DamagedRowError, StoreModelError, StoreUnavailableError
from embeddings.maintenance.backup import backup_store
from embeddings.maintenance.repair import QUARANTINED, RepairReport, repair_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from tests.embeddings.damage import DIM, damage_embedding, damage_id, embedding_offset, store_of
from torture.expectation import Expectation, provenance_of, vectors_of


def test_repairing_a_sound_store_changes_nothing(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2)
    before = store.path.read_bytes()
    assert repair_store(store.path) == RepairReport([], None, [], [])
    assert store.path.read_bytes() == before


def test_damaged_rows_are_quarantined_and_their_logos_can_be_added_again(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2, 3, 4)
    running = EmbeddingStore(store.path)
    damage_embedding(store.path, row=1)
    damage_embedding(store.path, row=3)
    with pytest.raises(DamagedRowError, match=r"manage\.py repair"):
        running.get(2)
    report = repair_store(store.path)
    kept = tmp_path / "s.quarantine.hdf5"
    assert report == RepairReport([2, 4], kept, [], [])
    for anyone in (running, EmbeddingStore(store.path)):
        assert [*anyone.verify()] == []
        assert anyone.ids().tolist() == [1, 3]
        assert 2 not in anyone
    with h5py.File(kept) as file:
        assert file["row"][:].tolist() == [1, 3]
        assert file["external_id"][:].tolist() == [2, 4]
        assert np.array_equal(file["embedding"][:][:, 1:], vectors_of([2, 4], DIM)[:, 1:])
        assert file["crc32"].shape == (2,)
    assert running.append([2, 4], vectors_of([2, 4], DIM), provenance_of([2, 4])) == [2, 4]
    assert Expectation({1, 2, 3, 4}).losses(store.path) == []


def test_a_row_that_was_only_being_written_stays(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2)
    before = store.path.read_bytes()
    damage_embedding(store.path, row=1)

    def finish_writing(rows: int) -> None:
        store.path.write_bytes(before)

    report = repair_store(store.path, progress=finish_writing)
    assert report == RepairReport([], None, [], [])
    assert Expectation({1, 2}).losses(store.path) == []


def test_a_second_repair_keeps_its_rows_beside_those_of_the_first(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2)
    for row, name in ((0, "s.quarantine.hdf5"), (1, "s.quarantine-2.hdf5")):
        damage_embedding(store.path, row)
        assert repair_store(store.path).kept_in == tmp_path / name


def test_a_quarantined_row_that_rots_again_is_not_kept_twice(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2)
    damage_embedding(store.path, row=0)
    repair_store(store.path)
    damage_embedding(store.path, row=0)
    assert repair_store(store.path) == RepairReport([QUARANTINED], None, [], [])
    assert [*store.verify()] == []


def test_lost_logos_are_restored_from_a_backup_but_deleted_ones_are_not(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", *range(1, 9))
    backup = tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    store.delete([8])
    damage_embedding(store.path, row=1)
    damage_id(store.path, row=2, value=5)  # logo 3: its row claims to be another logo
    damage_id(store.path, row=5, value=0)  # logo 6: its row claims to be empty
    report = repair_store(store.path, backup)
    assert report.quarantined == [2, 5]
    assert sorted(report.restored) == [2, 3, 6]
    assert Expectation(set(range(1, 8)), {8}).losses(store.path) == []


def test_a_row_that_claims_another_logo_does_not_hide_it(tmp_path: Path) -> None:
    path = store_of(tmp_path / "s.hdf5", 1, 2, 3, 4).path
    damage_id(path, row=3, value=1)
    for store in (EmbeddingStore(path), EmbeddingStore(path, writable=False)):
        assert np.array_equal(store.get(1), vectors_of([1], DIM)[0])
    assert rewrite_store(path).rows == 3
    assert Expectation({1, 2, 3}).losses(path) == []


def test_a_row_that_claims_another_logo_does_not_hide_it_in_a_large_store(tmp_path: Path) -> None:
    path = store_of(tmp_path / "s.hdf5", *range(1, 9001), capacity=9000).path
    damage_id(path, row=3000, value=7)
    assert np.array_equal(EmbeddingStore(path).get(7), vectors_of([7], DIM)[0])


def test_a_backup_of_another_model_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1)
    damage_embedding(store.path, row=0)
    create_store(tmp_path / "b.hdf5", capacity=5, dim=DIM, stamp=ModelStamp("b", "other"))
    with pytest.raises(StoreModelError, match="another model"):
        repair_store(store.path, tmp_path / "b.hdf5")
    assert len([*store.verify()]) == 1


def test_a_row_that_cannot_be_read_is_quarantined_as_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2, 3)
    first_byte, real = embedding_offset(store.path, row=1), os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        if offset < first_byte + 4 * DIM and first_byte < offset + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        assert repair_store(store.path).quarantined == [2]
    with h5py.File(tmp_path / "s.quarantine.hdf5") as file:
        assert not file["embedding"][:].any()
    assert Expectation({1, 3}).losses(store.path) == []


def test_there_must_be_a_store_to_repair(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        repair_store(tmp_path / "s.hdf5")
