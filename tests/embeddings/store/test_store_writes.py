"""What is acknowledged was synced, in the order that the store's docstring states, whatever write or sync fails."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.errors import (
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import inspect
from tests.stores import DIM, new_store, vectors


class FaultyDisk:
    """Counts the calls of one function of the os module and lets some of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.calls = 0
        self.failing: dict[int, int] = {}  # call -> errno
        self._real: Callable[..., Any] = getattr(os, name)
        monkeypatch.setattr(os, name, self)

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls in self.failing:
            number = self.failing[self.calls]
            raise OSError(number, os.strerror(number))
        return self._real(*args)


def test_each_append_writes_content_before_ids_and_syncs_after_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path / "s.hdf5")
    layout = inspect(store.path)
    assert layout
    assert layout.offsets
    names = {getattr(layout.offsets, name): name for name in ("ids", "checksums", "embeddings", "provenance")}
    steps: list[str] = []
    pwrite, fdatasync = os.pwrite, os.fdatasync

    def note_write(fd: int, content: bytes, offset: int) -> int:
        steps.append(names[offset])
        return pwrite(fd, content, offset)

    def note_sync(fd: int) -> None:
        steps.append("sync")
        fdatasync(fd)

    monkeypatch.setattr(os, "pwrite", note_write)
    monkeypatch.setattr(os, "fdatasync", note_sync)
    store.append([1, 2], vectors(2), [Provenance("http://images.test/1.jpg", (0, 0, 1, 1)), None])
    assert steps == ["embeddings", "checksums", "provenance", "sync", "ids", "sync"]


def test_already_stored_is_said_only_after_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store(tmp_path / "s.hdf5")
    other = EmbeddingStore(tmp_path / "s.hdf5")
    store.append([1, 2], vectors(2))
    disk = FaultyDisk(monkeypatch, "fdatasync")
    assert store.missing([1, 2]) == []
    assert disk.calls == 0  # it stored them itself
    assert other.missing([5]) == [5]
    assert disk.calls == 0
    assert other.missing([1, 5]) == [5]
    assert disk.calls == 1
    assert other.missing([2]) == []
    assert disk.calls == 1
    assert EmbeddingStore(tmp_path / "s.hdf5").append([1, 2], vectors(2)) == []
    assert disk.calls == 2
    EmbeddingStore(tmp_path / "s.hdf5").snapshot()
    assert disk.calls == 3


@pytest.mark.parametrize("failing", [1, 2])
def test_after_a_failed_sync_nothing_is_written_until_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    other = EmbeddingStore(tmp_path / "s.hdf5")
    disk = FaultyDisk(monkeypatch, "fdatasync")
    disk.failing = {failing: errno.EIO}
    with pytest.raises(StoreUnavailableError, match="a sync of "):
        store.append([2, 3], vectors(2))
    writes = FaultyDisk(monkeypatch, "pwrite")
    with pytest.raises(StoreUnavailableError, match="a sync of "):
        store.append([4], vectors(1))
    with pytest.raises(StoreUnavailableError, match="a sync of "):
        store.delete([1])
    assert writes.calls == 0
    assert store.get(1).shape == (DIM,)
    # What the cache holds of the failed append must not pass for stored.
    assert other.missing([1, 2, 3]) == [2, 3]
    store = EmbeddingStore(tmp_path / "s.hdf5")
    assert store.append([2, 3, 4], vectors(3)) == [2, 3, 4]
    assert other.ids().tolist() == [1, 2, 3, 4]
    assert [*other.verify()] == []


def test_a_name_is_made_durable_before_anything_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_store(tmp_path / "s.hdf5").append([1], vectors(1))
    syncs = FaultyDisk(monkeypatch, "fsync")
    EmbeddingStore(tmp_path / "s.hdf5", writable=False)
    assert syncs.calls == 0
    EmbeddingStore(tmp_path / "s.hdf5")
    assert syncs.calls == 1
    syncs.failing = {2: errno.EIO}
    with pytest.raises(StoreUnavailableError, match="cannot sync"):
        EmbeddingStore(tmp_path / "s.hdf5")


def test_a_deletion_that_could_not_be_synced_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    disk = FaultyDisk(monkeypatch, "fdatasync")
    disk.failing = {1: errno.EIO, 3: errno.EIO}
    with pytest.raises(StoreUnavailableError, match=r"cannot write .*s\.hdf5\.deleted"):
        store.delete([1])
    assert 1 in store
    with pytest.raises(StoreUnavailableError, match="a sync of "):
        store.delete([1])
    other = EmbeddingStore(store.path)
    assert other.ids().tolist() == [1]
    other.append([2], vectors(1))
    with pytest.raises(StoreUnavailableError, match="a sync of "):
        store.missing([2])  # it may be on the disk, but no sync of this descriptor can tell


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EFBIG, StoreFullError),
        (errno.EIO, StoreUnavailableError),
        (errno.EROFS, StoreUnavailableError),
    ],
)
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_an_append_works_once_a_failed_write_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StoreError], failing: int
) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    disk = FaultyDisk(monkeypatch, "pwrite")
    disk.failing = {failing: number}
    with pytest.raises(error, match="cannot write") as caught:
        store.append([2, 3], vectors(2))
    assert isinstance(caught.value.__cause__, OSError)
    assert store.ids().tolist() == [1]
    assert store.append([2, 3], vectors(2)) == [2, 3]
    assert EmbeddingStore(tmp_path / "s.hdf5").ids().tolist() == [1, 2, 3]


def test_ids_that_were_written_before_the_disk_was_full_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store(tmp_path / "s.hdf5")
    embeddings = vectors(3)
    pwrite = os.pwrite

    def pwrite_to_a_full_disk(fd: int, content: memoryview, offset: int) -> int:
        if len(content) == 3 * 8:
            return pwrite(fd, content[:8], offset)
        if len(content) == 2 * 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite_to_a_full_disk)
        with pytest.raises(StoreFullError, match="No space left"):
            store.append([1, 2, 3], embeddings)
    assert store.append([1, 2, 3], embeddings) == [2, 3]
    assert np.array_equal(np.concatenate([block for _, block in store.snapshot().blocks()]), embeddings)


def test_a_file_that_may_not_grow_refuses_and_goes_on(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StoreFullError, match="File too large"):
            store.append([2], vectors(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.append([2], vectors(1)) == [2]
