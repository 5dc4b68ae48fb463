"""Stores from before provenance was kept: read and written as they are, and given room for it by a rewrite."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import BackupError
from embeddings.maintenance.backup import backup_store, restore_store
from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store.layout import MAGIC, OLD_MAGIC
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import inspect
from torture.expectation import vectors_of

OLD = Path(__file__).parents[1] / "files" / "store-1.hdf5"  # written by release 0.1: logos 101 and 103, and 102 deleted
HERE = Provenance("https://images.test/1.jpg", (0.1, 0.2, 1 / 3, 0.4))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store from before provenance was kept."""
    return Path(shutil.copy(OLD, tmp_path / "old.hdf5"))


def test_a_store_from_before_is_read_and_written_as_it_is(old: Path) -> None:
    layout = inspect(old)
    assert layout
    assert layout.offsets
    assert layout.offsets.provenance is None
    assert prepare_store(old, capacity=1, dim=4, stamp=layout.stamp) is None
    with EmbeddingStore(old) as store:
        assert not store.keeps_provenance
        assert store.append([104], vectors_of([104], 4), [HERE]) == [104]
        assert store.ids().tolist() == [101, 103, 104]
        assert store.provenance([101, 104]) == {}
        assert [*store.verify()] == []
    assert old.stat().st_size == OLD.stat().st_size
    assert old.read_bytes().startswith(OLD_MAGIC)


def test_a_rewrite_gives_a_store_from_before_room_for_it(old: Path) -> None:
    with EmbeddingStore(old) as store:
        rewrite_store(old)
        assert store.keeps_provenance
        store.append([104], vectors_of([104], 4), [HERE])
        assert store.provenance([101, 104]) == {104: HERE}
        assert np.array_equal(store.get(103), [8, 9, 10, 11])
    assert old.read_bytes().startswith(MAGIC)


def test_a_backup_without_room_for_it_is_refused_once_the_store_keeps_it(old: Path, tmp_path: Path) -> None:
    backup = Path(shutil.copy(old, tmp_path / "backup.hdf5"))
    assert backup_store(old, backup).logos == 2
    with EmbeddingStore(old) as store:
        store.append([104], vectors_of([104], 4))
    assert backup_store(old, backup).logos == 3
    rewrite_store(old, capacity=10)
    with pytest.raises(BackupError, match="is older than provenance"):
        backup_store(old, backup)
    assert backup_store(old, tmp_path / "new.hdf5").logos == 3


def test_a_backup_of_a_store_from_before_has_room_for_what_comes(old: Path, tmp_path: Path) -> None:
    assert backup_store(old, tmp_path / "b.hdf5").logos == 2
    restore_store(tmp_path / "b.hdf5", tmp_path / "r.hdf5")
    assert EmbeddingStore(tmp_path / "r.hdf5").keeps_provenance
