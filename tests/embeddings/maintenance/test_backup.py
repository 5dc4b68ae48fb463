from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import BackupError, StoreError, StoreFullError, StoreUnavailableError
from embeddings.maintenance.backup import CopyReport, backup_store, restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from tests.embeddings.damage import DIM, damage_embedding, damage_id, store_of
from torture.expectation import Expectation, provenance_of, vectors_of

MANY = 9000  # rows: more than two blocks


def add(store: EmbeddingStore, *ids: int) -> None:
    assert store.append(ids, vectors_of(ids, DIM), provenance_of(ids)) == [*ids]


def test_a_backup_is_a_store_of_the_same_logos_and_as_sparse(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", *range(1, MANY), capacity=10_000_000)
    assert backup_store(store.path, tmp_path / "b.hdf5") == CopyReport(MANY - 1, MANY - 1, [])
    assert Expectation(set(range(1, MANY))).losses(tmp_path / "b.hdf5") == []
    assert EmbeddingStore(tmp_path / "b.hdf5").ids().tolist() == store.ids().tolist()
    assert (tmp_path / "b.hdf5").stat().st_size == store.path.stat().st_size
    assert (tmp_path / "b.hdf5").stat().st_blocks <= store.path.stat().st_blocks + 16
    assert not (tmp_path / "b.hdf5.partial").exists()


def test_the_next_backup_copies_new_logos_and_deletes_deleted_ones(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2, 3), tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    add(store, 4, 5)
    store.delete([2, 4])
    inode = backup.stat().st_ino
    assert backup_store(store.path, backup) == CopyReport(3, 2, [])
    assert backup.stat().st_ino == inode
    assert Expectation({1, 3, 5}, {2, 4}).losses(backup) == []
    assert backup_store(store.path, backup).copied == 0
    add(store, 2)
    assert backup_store(store.path, backup).logos == 4
    assert Expectation({1, 2, 3, 5}, {4}).losses(backup) == []


def test_both_passes_report_progress(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", *range(1, MANY), capacity=MANY)
    done: list[int] = []
    backup_store(store.path, tmp_path / "b.hdf5", done.append)
    assert sum(done) == 2 * (MANY - 1)
    assert len(done) == 6


def stop_after(blocks: int) -> Callable[[int], None]:
    """Return a progress callback that interrupts the run, as Ctrl-C does."""
    seen: list[int] = []

    def progress(rows: int) -> None:
        seen.append(rows)
        if len(seen) == blocks:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("blocks", [1, 2, 3, 5])
def test_an_interrupted_backup_resumes(tmp_path: Path, blocks: int) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", *range(1, MANY), capacity=MANY), tmp_path / "b.hdf5"
    with pytest.raises(KeyboardInterrupt):
        backup_store(store.path, backup, stop_after(blocks))
    assert not backup.exists()
    report = backup_store(store.path, backup)
    assert report.logos == MANY - 1
    assert report.copied == max(0, MANY - 1 - 4096 * blocks)
    assert Expectation(set(range(1, MANY))).losses(backup) == []
    assert not (tmp_path / "b.hdf5.partial").exists()


@pytest.mark.parametrize("rubbish", [b"", b"half a file"])
def test_files_of_another_run_are_removed(tmp_path: Path, rubbish: bytes) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2)
    (tmp_path / "b.hdf5.partial").write_bytes(rubbish)
    (tmp_path / "b.hdf5.partial.tmp").write_bytes(rubbish)
    assert backup_store(store.path, tmp_path / "b.hdf5").logos == 2
    assert sorted(path.name for path in tmp_path.glob("b*")) == ["b.hdf5", "b.hdf5.lock"]
    store_of(tmp_path / "c.hdf5.partial", 7, 8, 9)
    assert backup_store(store.path, tmp_path / "c.hdf5").logos == 2
    assert Expectation({1, 2}, {7, 8, 9}).losses(tmp_path / "c.hdf5") == []


def test_a_file_that_is_not_a_backup_of_this_store_is_refused_and_kept(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2, 3)
    create_store(tmp_path / "model.hdf5", capacity=100, dim=DIM, stamp=ModelStamp("other", "digest"))
    (tmp_path / "text.hdf5").write_text("something else")
    store_of(tmp_path / "others.hdf5", 1, 9)
    store_of(tmp_path / "longer.hdf5", 1, 2, 3, 4)
    store_of(tmp_path / "smaller.hdf5", 1, 2, capacity=50)
    for name in ("model", "text", "others", "longer", "smaller"):
        target = tmp_path / f"{name}.hdf5"
        before = target.read_bytes()
        with pytest.raises(StoreError, match=r"not an earlier backup|not a store"):
            backup_store(store.path, target)
        assert target.read_bytes() == before


def test_after_a_compaction_a_backup_needs_a_new_file(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2, 3), tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    store.delete([1])
    rewrite_store(store.path)
    with pytest.raises(BackupError, match="name a new file"):
        backup_store(store.path, backup)
    assert backup_store(store.path, tmp_path / "new.hdf5").logos == 2
    assert Expectation({1, 2, 3}).losses(backup) == []


def test_a_store_cannot_be_its_own_backup(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", 1)
    (tmp_path / "link.hdf5").symlink_to(store.path)
    with pytest.raises(BackupError, match="the store itself"):
        backup_store(store.path, tmp_path / "link.hdf5")


def test_damaged_rows_are_left_out_and_named(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2, 3), tmp_path / "b.hdf5"
    damage_embedding(store.path, row=1)
    assert backup_store(store.path, backup) == CopyReport(2, 2, [2])
    assert Expectation({1, 3}).losses(backup) == []
    repair_store(store.path)
    add(store, 2)
    assert backup_store(store.path, backup).logos == 3
    assert Expectation({1, 2, 3}).losses(backup) == []


def test_a_row_that_rots_after_its_backup_stays_there(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2, 3), tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    damage_embedding(store.path, row=1)
    assert backup_store(store.path, backup).logos == 3
    repair_store(store.path)
    assert backup_store(store.path, backup).logos == 3
    assert Expectation({1, 2, 3}).losses(backup) == []
    assert repair_store(store.path, backup).restored == [2]
    assert backup_store(store.path, backup).logos == 3
    assert Expectation({1, 2, 3}).losses(backup) == []


def test_a_damaged_id_does_not_spoil_the_backup(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2, 3), tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    damage_id(store.path, row=1, value=77)
    with pytest.raises(BackupError, match=r"manage\.py verify"):
        backup_store(store.path, backup)
    assert Expectation({1, 2, 3}).losses(backup) == []


def test_a_backup_that_rots_is_found_by_the_next(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2, 3), tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    damage_embedding(backup, row=1)
    with pytest.raises(BackupError, match=r"does not read back: 1 rows are damaged, of logos 2"):
        backup_store(store.path, backup)


def test_lack_of_disk_space_is_reported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2)
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and type("U", (), {"free": 10}))
    with pytest.raises(StoreFullError, match="make room"):
        backup_store(store.path, tmp_path / "b.hdf5")
    assert not (tmp_path / "b.hdf5").exists()


@pytest.mark.parametrize("function", ["pwrite", "fdatasync", "fsync", "link"])
def test_a_failed_backup_does_not_change_the_store_and_the_next_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    store = store_of(tmp_path / "s.hdf5", 1, 2)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(StoreUnavailableError):
            backup_store(store.path, tmp_path / "b.hdf5")
    assert Expectation({1, 2}).losses(store.path) == []
    assert backup_store(store.path, tmp_path / "b.hdf5").logos == 2


def test_a_backup_under_write_load_is_restored_and_whole(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.hdf5", *range(1, 5001), capacity=50_000)
    stop = threading.Event()
    stored, deleted = list(range(1, 5001)), [0]

    def write() -> None:
        while not stop.is_set():
            ids = range(stored[-1] + 1, stored[-1] + 8)
            store.append(ids, vectors_of(ids, DIM), provenance_of(ids))
            stored.extend(ids)
            deleted.extend(store.delete([deleted[-1] + 1]))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            backup = tmp_path / "b.hdf5"
            before = Expectation(set(stored), set())
            gone = set(deleted)
            backup_store(store.path, backup)
            # A logo that was deleted meanwhile may be in it or not.
            before.stored -= set(deleted)
            before.deleted = gone
            assert before.losses(backup) == []
    finally:
        stop.set()
        writer.join()
    backup_store(store.path, backup)
    report = restore_store(backup, tmp_path / "new" / "data" / "r.hdf5")
    assert report.damaged == []
    assert Expectation(set(stored) - set(deleted), set(deleted)).losses(tmp_path / "new" / "data" / "r.hdf5") == []
    restored = EmbeddingStore(tmp_path / "new" / "data" / "r.hdf5")
    assert np.array_equal(restored.ids(), store.ids())
    add(restored, 10**6)


def test_a_store_is_replaced_only_on_request_and_the_old_one_is_kept(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2), tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    add(store, 3)
    with pytest.raises(StoreUnavailableError, match="--replace"):
        restore_store(backup, store.path)
    assert store.ids().tolist() == [1, 2, 3]
    report = restore_store(backup, store.path, replace=True)
    kept = tmp_path / "s.replaced.hdf5"
    assert report == CopyReport(2, 2, [], kept)
    assert Expectation({1, 2, 3}).losses(kept) == []
    assert store.ids().tolist() == [1, 2]  # the running service has switched to it
    add(store, 4)
    assert Expectation({1, 2, 4}, {3}).losses(store.path) == []


def test_an_interrupted_restore_resumes(tmp_path: Path) -> None:
    backup = store_of(tmp_path / "b.hdf5", *range(1, MANY), capacity=MANY).path
    path = tmp_path / "s.hdf5"
    with pytest.raises(KeyboardInterrupt):
        restore_store(backup, path, progress=stop_after(2))
    assert not path.exists()
    assert restore_store(backup, path).copied == MANY - 1 - 2 * 4096
    assert Expectation(set(range(1, MANY))).losses(path) == []


def test_there_must_be_a_backup_to_restore(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        restore_store(tmp_path / "b.hdf5", tmp_path / "s.hdf5")
    (tmp_path / "b.hdf5").write_text("no store")
    with pytest.raises(StoreError):
        restore_store(tmp_path / "b.hdf5", tmp_path / "s.hdf5")
    assert not (tmp_path / "s.hdf5").exists()


def test_a_rewrite_gives_way_to_a_restore(tmp_path: Path) -> None:
    store, backup = store_of(tmp_path / "s.hdf5", 1, 2), tmp_path / "b.hdf5"
    backup_store(store.path, backup)

    def restore(rows: int) -> None:
        restore_store(backup, store.path, replace=True)

    with pytest.raises(StoreUnavailableError, match=r"another file replaced .* meanwhile"):
        rewrite_store(store.path, progress=restore)
    assert Expectation({1, 2}).losses(store.path) == []


def test_a_store_that_was_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    backup, path = store_of(tmp_path / "b.hdf5", 1, 2).path, tmp_path / "s.hdf5"

    def make_one(rows: int) -> None:
        if not path.exists():
            store_of(path, 7)

    with pytest.raises(StoreUnavailableError, match="--replace"):
        restore_store(backup, path, progress=make_one)
    assert Expectation({7}).losses(path) == []
