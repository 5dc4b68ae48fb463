"""The original's file becomes a store bit for bit, is kept, and is refused where that cannot be done."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from embeddings.errors import StoreLayoutError, StoreModelError, StoreUnavailableError
from embeddings.maintenance.rewrite import RewriteReport, prepare_store, rewrite_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import draft_path
from embeddings.store.writer_lock import writer_lock
from tests.embeddings.maintenance.migrated import names, prepare
from tests.stores import DIM, STAMP, new_store, original, vectors

UNKNOWN = ModelStamp("", "")


def test_a_missing_store_is_created_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data" / "s.hdf5"
    assert prepare(path) is None
    store = EmbeddingStore(path)
    assert (len(store), store.capacity, store.dim, store.stamp) == (0, 100, DIM, STAMP)
    assert prepare(path) is None


def test_a_store_is_left_as_it_is(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5")
    store.append([1], vectors(1))
    before = store.path.stat()
    assert prepare(store.path, capacity=9999) is None
    assert store.path.stat().st_ino == before.st_ino


def test_the_original_is_migrated_bit_for_bit_and_kept(tmp_path: Path) -> None:
    ids = [30, 10, 20, 2**31 - 1]
    embeddings = vectors(4)
    path = original(tmp_path / "s.hdf5", ids, embeddings)
    before = path.read_bytes()
    kept = tmp_path / "s.original.hdf5"
    assert prepare(path) == RewriteReport(
        rows=4, duplicates=0, damaged=0, ignored=0, not_finite=0, capacity=100, kept_as=kept
    )
    assert kept.read_bytes() == before
    assert names(tmp_path) == ["s.hdf5", "s.original.hdf5"]
    store = EmbeddingStore(path)
    assert store.ids().tolist() == ids
    assert store.stamp == UNKNOWN
    assert b"".join(store.get(logo_id).tobytes() for logo_id in ids) == embeddings.tobytes()
    assert [*store.verify()] == []
    assert store.append([5], vectors(1)) == [5]


def test_many_chunks_of_the_original_are_read_in_order(tmp_path: Path) -> None:
    embeddings = vectors(1000)
    path = original(tmp_path / "s.hdf5", [*range(1, 1001)], embeddings, capacity=1000)
    done: list[int] = []
    assert prepare_store(path, capacity=10, dim=DIM, stamp=STAMP, progress=done.append)
    assert sum(done) == 1000
    assert len(done) > 100
    store = EmbeddingStore(path)
    assert store.capacity == 1000
    assert np.array_equal(np.concatenate([block for _, block in store.snapshot().blocks()]), embeddings)


def test_the_last_row_of_a_doubled_id_wins_and_rubbish_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embeddings = vectors(7)
    path = original(tmp_path / "s.hdf5", [5, 6, 0, 5, -4, 7, 5], embeddings)
    with caplog.at_level(logging.INFO):
        report = prepare(path)
    assert report
    assert (report.rows, report.duplicates, report.ignored) == (3, 2, 2)
    store = EmbeddingStore(path)
    assert store.ids().tolist() == [6, 7, 5]
    assert np.array_equal(store.get(5), embeddings[6])
    assert "2 rows of logos that a later row holds" in caplog.text


def test_embeddings_that_are_not_finite_are_kept_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    embeddings = vectors(40)
    embeddings[3:30, 1] = np.nan
    embeddings[30, 0] = np.inf
    path = original(tmp_path / "s.hdf5", [*range(1, 41)], embeddings)
    report = prepare(path)
    assert report
    assert (report.rows, report.not_finite) == (40, 28)
    assert "28 logos have embeddings that are not finite: 4, 5," in caplog.text
    assert EmbeddingStore(path).get(5).tobytes() == embeddings[4].tobytes()


def test_an_original_without_logos_is_migrated(tmp_path: Path) -> None:
    report = prepare(original(tmp_path / "s.hdf5", [], vectors(0)))
    assert report
    assert report.rows == 0
    assert len(EmbeddingStore(tmp_path / "s.hdf5")) == 0


def test_an_original_that_is_not_chunked_is_migrated(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.hdf5", "w") as hdf5:
        hdf5["embedding"] = vectors(2)
        hdf5["external_id"] = np.array([8, 9], "i4")
    assert prepare(tmp_path / "s.hdf5")
    assert EmbeddingStore(tmp_path / "s.hdf5").ids().tolist() == [8, 9]


def test_no_kept_file_is_ever_replaced(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1], vectors(1))
    (tmp_path / "s.original.hdf5").write_text("an older one")
    (tmp_path / "s.original-2.hdf5").symlink_to("nowhere")
    report = prepare(path)
    assert report
    assert report.kept_as == tmp_path / "s.original-3.hdf5"
    assert (tmp_path / "s.original.hdf5").read_text() == "an older one"


def test_a_killed_migration_is_started_again(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1], vectors(1))
    draft_path(path).write_text("half a store")
    os.link(path, tmp_path / "s.original.hdf5")
    report = prepare(path)
    assert report
    assert report.kept_as == tmp_path / "s.original.hdf5"
    assert names(tmp_path) == ["s.hdf5", "s.original.hdf5"]


def test_an_original_that_is_being_written_is_not_migrated(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1], vectors(1))
    with h5py.File(path, "r+"), pytest.raises(StoreUnavailableError, match="another program"):
        prepare(path)
    assert prepare(path)


def test_an_original_cannot_be_written_during_its_migration(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1], vectors(1))
    refused: list[str] = []

    def try_to_write(rows: int) -> None:
        with pytest.raises(OSError, match="unable to lock file") as caught:
            h5py.File(path, "r+")
        refused.append(str(caught.value))

    assert prepare_store(path, capacity=10, dim=DIM, stamp=STAMP, progress=try_to_write)
    assert len(refused) == 1


def test_several_services_may_start_at_once(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.hdf5"
    path = original(tmp_path / "s.hdf5", [1, 2], vectors(2))
    reports: list[RewriteReport | None] = []

    def start() -> None:
        prepare(fresh)
        reports.append(prepare(path))

    threads = [threading.Thread(target=start) for _ in range(4)]
    with writer_lock(path), writer_lock(fresh):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert len([report for report in reports if report]) == 1
    assert len(reports) == 4
    assert EmbeddingStore(path).ids().tolist() == [1, 2]
    assert len(EmbeddingStore(fresh)) == 0


@pytest.mark.parametrize(
    ("dim", "stamp", "message"),
    [
        (DIM + 1, STAMP, "holds embeddings of 4 values, but the model makes 5"),
        (DIM, ModelStamp("a", "other"), r"made with the model a \(digest\)"),
        (DIM, ModelStamp("b", "digest"), r"not with b \(digest\)"),
    ],
)
def test_a_store_of_another_model_is_refused(tmp_path: Path, dim: int, stamp: ModelStamp, message: str) -> None:
    new_store(tmp_path / "s.hdf5")
    with pytest.raises(StoreModelError, match=message):
        prepare(tmp_path / "s.hdf5", dim=dim, stamp=stamp)


def test_an_original_of_another_length_is_refused_and_stays(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1], vectors(1))
    with pytest.raises(StoreModelError, match="the model makes 5"):
        prepare(path, dim=5)
    assert names(tmp_path) == ["s.hdf5"]


def test_a_file_that_is_no_store_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    path.write_text("something else")
    with pytest.raises(StoreLayoutError):
        prepare(path)
    with pytest.raises(StoreLayoutError):
        rewrite_store(path)
    assert path.read_text() == "something else"


def test_the_command_migrates_too(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1, 2], vectors(2))
    report = rewrite_store(path)
    assert (report.rows, report.capacity, report.kept_as) == (2, 50, tmp_path / "s.original.hdf5")


def test_an_original_that_cannot_be_read_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    with h5py.File(path, "w") as hdf5:
        hdf5.create_dataset("embedding", (50, DIM), "f", chunks=(7, 3), fletcher32=True)[:40] = vectors(40)
        hdf5.create_dataset("external_id", (50,), "i", chunks=True)[:40] = range(1, 41)
        chunk = hdf5["embedding"].id.get_chunk_info(3)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff\xff")
    with pytest.raises(StoreUnavailableError, match="cannot rewrite"):
        prepare(path)
    assert names(tmp_path) == ["s.hdf5"]
