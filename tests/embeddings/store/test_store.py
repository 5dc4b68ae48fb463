from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.errors import (
    DamagedRowError,
    StoreError,
    StoreFullError,
    StoreLayoutError,
    StoreModelError,
    StoreUnavailableError,
)
from embeddings.store.damaged_rows import DamagedRow
from embeddings.store.id_table import MAX_ID, WINDOW
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store, inspect
from embeddings.store.writer_lock import writer_lock
from tests.embeddings.damage import damage_embedding

DIM = 4


def new_store(path: Path, capacity: int = 100, dim: int = DIM, model: str = "a") -> EmbeddingStore:
    create_store(path, capacity=capacity, dim=dim, stamp=ModelStamp(model, "digest"))
    return EmbeddingStore(path)


def vectors(count: int, dim: int = DIM) -> NDArray[np.float32]:
    return np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)


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
    assert (store.capacity, store.dim, store.stamp) == (100, DIM, ModelStamp("a", "digest"))


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
    new_store(tmp_path / "other.hdf5", model="b")
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


def test_a_store_behind_a_link_is_locked_and_watched_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    new_store(tmp_path / "disk" / "s.hdf5").append([1], vectors(1))
    (tmp_path / "s.hdf5").symlink_to(tmp_path / "disk" / "s.hdf5")
    store = EmbeddingStore(tmp_path / "s.hdf5")
    assert store.append([2], vectors(1)) == [2]
    assert sorted(file.name for file in (tmp_path / "disk").iterdir()) == ["s.hdf5", "s.hdf5.lock"]
