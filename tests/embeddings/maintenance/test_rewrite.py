"""A store is rewritten under a running service: it grows, is compacted and mended, and loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from embeddings.errors import StoreError, StoreFullError, StoreLayoutError, StoreUnavailableError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.layout import HEADER_BYTES
from embeddings.store.store import EmbeddingStore
from tests.embeddings.damage import damage_embedding
from tests.embeddings.maintenance.migrated import names, prepare
from tests.stores import DIM, STAMP, new_store, vectors


def lose_header(path: Path) -> None:
    with path.open("r+b") as raw:
        raw.write(bytes(HEADER_BYTES))


def write_a_note(path: Path) -> None:
    with h5py.File(path, "r+") as hdf5:
        hdf5.attrs["note"] = "another tool was here"


def early_version(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[HEADER_BYTES:])


@pytest.mark.parametrize("damage_metadata", [lose_header, write_a_note, early_version])
def test_a_store_whose_rows_are_whole_is_taken_over(tmp_path: Path, damage_metadata: Callable[[Path], None]) -> None:
    with new_store(tmp_path / "s.hdf5", capacity=10) as store:
        embeddings = vectors(3)
        store.append([1, 2, 3], embeddings)
        store.delete([2])
    damage_metadata(store.path)
    if damage_metadata is not early_version:
        with pytest.raises(StoreLayoutError, match="migrate-store"):
            prepare(store.path)
    report = rewrite_store(store.path)
    assert (report.rows, report.ignored, report.kept_as) == (2, 1, tmp_path / "s.original.hdf5")
    mended = EmbeddingStore(store.path)
    assert (mended.ids().tolist(), mended.stamp, mended.capacity) == ([1, 3], STAMP, 10)
    assert np.array_equal(mended.get(3), embeddings[2])


def test_a_store_that_an_early_version_made_is_migrated_at_the_start(tmp_path: Path) -> None:
    with new_store(tmp_path / "s.hdf5", capacity=10) as store:
        store.append([1, 2, 3], vectors(3))
    early_version(store.path)
    assert prepare(store.path)
    assert EmbeddingStore(store.path).ids().tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["a" * 129, "caf\udce9", "a\nb"])
def test_a_store_whose_models_name_can_be_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "s.hdf5", "w") as hdf5:
        hdf5.attrs.create("model", name.encode(errors="surrogateescape"), dtype=h5py.string_dtype())
        hdf5.attrs["model_digest"] = "digest"
        for part, shape, kind in (("external_id", (3,), "i8"), ("crc32", (3,), "u4"), ("embedding", (3, DIM), "f4")):
            hdf5.create_dataset(part, shape, kind)
    for take_over in (prepare, rewrite_store):
        with pytest.raises(StoreLayoutError, match="not a store"):
            take_over(tmp_path / "s.hdf5")


def test_a_store_that_lost_more_than_its_header_is_refused_and_stays(tmp_path: Path) -> None:
    with new_store(tmp_path / "s.hdf5", capacity=10) as store:
        store.append([1, 2, 3], vectors(3))
    damage_embedding(store.path, row=1)
    lose_header(store.path)
    before = store.path.read_bytes()
    with pytest.raises(StoreLayoutError, match="restore it from a backup"):
        rewrite_store(store.path)
    assert store.path.read_bytes() == before


def test_there_must_be_a_store_to_rewrite(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="there is no store"):
        rewrite_store(tmp_path / "s.hdf5")
    assert names(tmp_path) == []


def test_a_full_store_grows_under_a_running_service(tmp_path: Path) -> None:
    service = new_store(tmp_path / "s.hdf5", capacity=3)
    embeddings = vectors(4)
    service.append([1, 2, 3], embeddings[:3])
    with pytest.raises(StoreFullError):
        service.append([4], embeddings[3:])
    report = rewrite_store(service.path, capacity=10)
    assert (report.rows, report.capacity, report.kept_as) == (3, 10, None)
    assert service.append([4], embeddings[3:]) == [4]
    assert service.capacity == 10
    assert service.stamp == STAMP
    assert np.array_equal(np.concatenate([block for _, block in service.snapshot().blocks()]), embeddings)
    assert names(tmp_path) == ["s.hdf5"]


def test_compacting_frees_the_rows_of_deleted_logos(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=5)
    embeddings = vectors(5)
    store.append(range(1, 6), embeddings)
    store.delete([1])
    store.delete([4])
    report = rewrite_store(store.path)
    assert (report.rows, report.ignored, report.capacity) == (3, 2, 5)
    assert store.ids().tolist() == [2, 3, 5]
    assert np.array_equal(store.get(5), embeddings[4])
    assert store.append([1, 4], embeddings[[0, 3]]) == [1, 4]


def test_what_is_deleted_and_stored_during_a_rewrite_stays_so(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=8)
    embeddings = vectors(8)
    store.append(range(1, 5), embeddings[:4])
    steps: list[int] = []

    def use_the_store(rows: int) -> None:
        steps.append(rows)
        if len(steps) == 1:  # no lock is held, and the four rows are copied
            assert store.delete([2]) == [2]
            assert store.append([5, 2], embeddings[4:6]) == [5, 2]

    report = rewrite_store(store.path, progress=use_the_store)
    assert (report.rows, report.capacity) == (5, 8)
    assert steps == [4, 2]
    for anyone in (store, EmbeddingStore(store.path)):
        assert anyone.ids().tolist() == [1, 3, 4, 5, 2]
        assert np.array_equal(anyone.get(2), embeddings[5])
        assert [*anyone.verify()] == []


def test_a_store_that_outgrows_the_new_file_meanwhile_stays(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", capacity=8)
    store.append([1, 2], vectors(2))

    def add(rows: int) -> None:
        store.append([3], vectors(1))

    with pytest.raises(StoreError, match="holds 3 logos: a capacity of 2"):
        rewrite_store(store.path, capacity=2, progress=add)
    assert store.ids().tolist() == [1, 2, 3]
    assert names(tmp_path) == ["s.hdf5"]


def test_a_capacity_below_the_live_rows_is_refused(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1, 2, 3], vectors(3))
    store.delete([2])
    with pytest.raises(StoreError, match="holds 2 logos: a capacity of 1"):
        rewrite_store(store.path, capacity=1)
    assert rewrite_store(store.path, capacity=2).capacity == 2
    assert names(tmp_path) == ["s.hdf5"]


def test_damaged_rows_are_left_out_and_the_old_file_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1, 2, 3], vectors(3))
    damage_embedding(store.path, row=1)
    before = store.path.read_bytes()
    report = rewrite_store(store.path)
    assert (report.rows, report.damaged, report.kept_as) == (2, 1, tmp_path / "s.damaged.hdf5")
    assert (tmp_path / "s.damaged.hdf5").read_bytes() == before
    assert "1 damaged rows, of logos 2" in caplog.text
    assert store.append([2], vectors(1)) == [2]
    assert store.ids().tolist() == [1, 3, 2]


def test_a_store_whose_rows_are_all_damaged_can_be_rewritten(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    damage_embedding(store.path, row=0)
    assert rewrite_store(store.path).rows == 0
    assert len(store) == 0


def test_threads_read_and_store_on_while_the_store_moves(tmp_path: Path) -> None:
    service = new_store(tmp_path / "s.hdf5", capacity=5000)
    embeddings = vectors(5000)
    service.append(range(1, 501), embeddings[:500])
    stop = threading.Event()
    errors: list[object] = []
    acknowledged: list[int] = []

    def read() -> None:
        while not stop.is_set():
            some = range(1, 501, 7)
            errors.extend(i for i in some if not np.array_equal(service.get(i), embeddings[i - 1]))
            snapshot = service.snapshot()
            if sum(len(ids) for ids, _ in snapshot.blocks(100)) != len(snapshot):
                errors.append("a snapshot lost rows")

    def write() -> None:
        for logo_id in range(501, 5001):
            if stop.is_set():
                break
            acknowledged.extend(service.append([logo_id], embeddings[logo_id - 1 : logo_id]))

    threads = [threading.Thread(target=work) for work in (read, read, write)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        rewrite_store(service.path)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert service.ids().tolist() == [*range(1, 501), *acknowledged]
    assert len(acknowledged) > 0
