from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.deletions import DeletionLog
from embeddings.store.store import EmbeddingStore
from tests.stores import new_store, vectors


def test_several_logos_are_deleted_at_once_each_named_once(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", *range(1, 11))
    assert store.delete([3, 99, 5, 3]) == [3, 5]
    assert store.ids().tolist() == [1, 2, 4, 6, 7, 8, 9, 10]
    assert store.delete([]) == []


def test_not_stored_is_said_only_after_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = new_store(tmp_path / "s.hdf5", *range(1, 11)), EmbeddingStore(tmp_path / "s.hdf5")
    store.delete([2])
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    assert other.delete([2]) == []
    assert len(synced) == 1


def test_other_processes_know_what_was_deleted_before_and_after_they_opened_the_store(tmp_path: Path) -> None:
    store, early = new_store(tmp_path / "s.hdf5", *range(1, 11)), EmbeddingStore(tmp_path / "s.hdf5", writable=False)
    assert early.deleted_among([1, 2, 3]) == set()
    store.delete([2])
    assert early.deleted_among([1, 2, 3]) == {2}
    store.delete([3])
    late = EmbeddingStore(tmp_path / "s.hdf5", writable=False)
    for anyone in (store, early, late):
        assert anyone.deleted_among([1, 2, 3, 77]) == {2, 3}


def test_a_logo_that_comes_again_is_not_deleted(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", *range(1, 11))
    store.delete([2])
    store.append([2], vectors(1))
    assert store.deleted_among([2]) == set()
    assert EmbeddingStore(store.path).deleted_among([2]) == set()


def test_deletions_are_known_after_a_compaction(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", *range(1, 11))
    store.delete([2])
    rewrite_store(store.path)
    assert store.deleted_among([1, 2]) == {2}
    assert EmbeddingStore(store.path).deleted_among([1, 2]) == {2}


def test_without_the_log_the_rows_still_tell(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", *range(1, 11))
    store.delete([2])
    (tmp_path / "s.hdf5.deleted").unlink()
    assert EmbeddingStore(store.path).deleted_among([1, 2]) == {2}


def test_a_write_that_ends_early_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: write(fd, content[:3]))
    DeletionLog(tmp_path / "s.hdf5").write([11, 2**40, 13])
    assert (tmp_path / "s.hdf5.deleted").read_text() == f"\n11\n{2**40}\n13\n"


def test_a_log_that_a_crash_cut_short_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    (tmp_path / "s.hdf5.deleted").write_bytes(b"11\n12\n1")
    log = DeletionLog(path)
    assert log.among([1, 11, 12, 13]) == {11, 12}
    log.write([13])
    assert log.among([11, 12, 13]) == {11, 12, 13}


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    log = DeletionLog(path)
    log.write([1, 2, 3, 4, 5])
    assert log.among([1, 9]) == {1}
    (tmp_path / "other").write_text("9\n" + "8\n" * 100)  # longer than what was read
    (tmp_path / "other").replace(tmp_path / "s.hdf5.deleted")
    assert log.among([1, 9]) == {1, 9}


def test_a_log_that_cannot_be_read_names_none_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "s.hdf5.deleted").mkdir()
    log = DeletionLog(tmp_path / "s.hdf5")
    with caplog.at_level(logging.WARNING):
        assert [log.among([1]), log.among([1])] == [set(), set()]
    assert caplog.text.count("remain in the results") == 1
