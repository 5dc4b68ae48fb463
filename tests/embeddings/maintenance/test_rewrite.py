from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.errors import StoreError, StoreFullError, StoreLayoutError, StoreModelError, StoreUnavailableError
from embeddings.maintenance.rewrite import RewriteReport, prepare_store, rewrite_store
from embeddings.store.layout import HEADER_BYTES, ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store, draft_path
from embeddings.store.writer_lock import writer_lock
from tests.embeddings.damage import damage_embedding

DIM = 4
STAMP = ModelStamp("a", "digest")
UNKNOWN = ModelStamp("", "")


def vectors(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).standard_normal((count, DIM)).astype(np.float32)


def original(path: Path, ids: list[int], embeddings: NDArray[np.float32], capacity: int = 50) -> Path:
    with h5py.File(path, "w") as hdf5:
        rows = hdf5.create_dataset("embedding", (capacity, DIM), "f", chunks=(7, 3))
        keys = hdf5.create_dataset("external_id", (capacity,), "i", chunks=True)
        rows[: len(ids)] = embeddings
        keys[: len(ids)] = ids
    return path


def prepare(path: Path, capacity: int = 100, dim: int = DIM, stamp: ModelStamp = STAMP) -> RewriteReport | None:
    return prepare_store(path, capacity=capacity, dim=dim, stamp=stamp)


def new_store(path: Path, capacity: int = 100) -> EmbeddingStore:
    create_store(path, capacity=capacity, dim=DIM, stamp=STAMP)
    return EmbeddingStore(path)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix not in (".lock", ".deleted"))


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


def test_there_must_be_a_store_to_rewrite(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="there is no store"):
        rewrite_store(tmp_path / "s.hdf5")
    assert names(tmp_path) == []


def test_the_command_migrates_too(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1, 2], vectors(2))
    report = rewrite_store(path)
    assert (report.rows, report.capacity, report.kept_as) == (2, 50, tmp_path / "s.original.hdf5")


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


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_is_found_out_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = original(tmp_path / "s.hdf5", [1, 2], vectors(2))
    draft_path(path).write_text("what a killed run left takes room, too")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(100, 90, 10))
    with pytest.raises(StoreFullError, match="make room"):
        prepare(path)
    assert names(tmp_path) == ["s.hdf5"]


@pytest.mark.parametrize(
    ("before", "steps"),
    [
        ("nothing", ["sync draft", "link draft s.hdf5", "sync directory"]),
        (
            "original",
            [
                "sync draft",  # its layout,
                "sync draft",  # its rows
                "link s.hdf5 s.original.hdf5",
                "sync directory",
                "replace draft s.hdf5",
                "sync directory",
            ],
        ),
    ],
)
def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, steps: list[str]
) -> None:
    path = tmp_path / "s.hdf5"
    if before == "original":
        original(path, [1, 2], vectors(2))
    label = {draft_path(path): "draft", tmp_path: "directory"}
    seen: list[str] = []

    def note(name: str, word: str) -> None:
        real = getattr(os, name)

        def noting(*things: Any) -> None:
            paths = [Path(f"/proc/self/fd/{thing}").readlink() if isinstance(thing, int) else thing for thing in things]
            seen.append(" ".join([word, *(label.get(path, path.name) for path in paths)]))
            real(*things)

        monkeypatch.setattr(os, name, noting)

    for name, word in (("fdatasync", "sync"), ("fsync", "sync"), ("link", "link"), ("replace", "replace")):
        note(name, word)
    prepare(path)
    assert seen == steps


@pytest.mark.parametrize("function", ["pwrite", "fdatasync", "fsync", "link", "replace", "chmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_migration_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    path = original(tmp_path / "s.hdf5", [1, 2], vectors(2))
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(StoreError, match=os.strerror(number)):
            prepare(path)
    assert path.read_bytes() == before
    assert not draft_path(path).exists()
    assert prepare(path)
    assert EmbeddingStore(path).ids().tolist() == [1, 2]


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


def test_the_new_file_belongs_to_whom_the_old_one_did(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1], vectors(1))
    path.chmod(0o640)
    prepare(path)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    rewrite_store(path)
    assert path.stat().st_mode & 0o777 == 0o600
