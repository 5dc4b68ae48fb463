"""Where logos come from: kept with their rows, carried wherever rows go, and never worth more than a row."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from embeddings.errors import BackupError
from embeddings.maintenance.backup import backup_store, restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.damaged_rows import DamagedRow
from embeddings.store.provenance import RECORD, RECORD_BYTES, URL_BYTES, Provenance
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store, inspect
from tests.embeddings.damage import DIM, damage_embedding, damage_provenance
from torture.expectation import STAMP, vectors_of

HERE = Provenance("https://images.test/1.jpg", (0.1, 0.2, 1 / 3, 0.4))
THERE = Provenance("https://images.test/größer/2.jpg?rev=3", (0.0, 0.0, 1.0, 1.0))


def store_at(path: Path, origins: dict[int, Provenance | None]) -> EmbeddingStore:
    create_store(path, capacity=100, dim=DIM, stamp=STAMP)
    store = EmbeddingStore(path)
    assert store.append([*origins], vectors_of([*origins], DIM), [*origins.values()]) == [*origins]
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The store of three logos, the second of which has no provenance."""
    store_at(tmp_path / "s.hdf5", {1: HERE, 2: None, 3: THERE}).close()
    return tmp_path / "s.hdf5"


def test_a_record_is_512_bytes() -> None:
    assert RECORD.itemsize == RECORD_BYTES == 512


def test_provenance_is_kept_to_the_bit_for_those_that_have_one(path: Path) -> None:
    for store in (EmbeddingStore(path), EmbeddingStore(path, writable=False)):
        assert store.keeps_provenance
        assert store.provenance([3, 2, 1, 4, 2**70, -1]) == {3: THERE, 1: HERE}
        assert store.provenance([]) == {}


def test_provenance_of_a_repeated_id_is_that_of_its_first(path: Path) -> None:
    with EmbeddingStore(path) as store:
        assert store.append([1, 5, 5], vectors_of([1, 5, 5], DIM), [THERE, HERE, THERE]) == [5]
        assert store.provenance([1, 5]) == {1: HERE, 5: HERE}


def test_another_process_sees_what_was_just_stored(path: Path) -> None:
    with EmbeddingStore(path) as store, EmbeddingStore(path) as other:
        store.append([9], vectors_of([9], DIM), [THERE])
        assert other.provenance([9]) == {9: THERE}


def test_any_hdf5_tool_reads_it(path: Path) -> None:
    with h5py.File(path, "r") as file:
        rows = file["provenance"]
        assert rows.dtype.names == ("image_url", "bounding_box", "crc32")
        assert h5py.check_string_dtype(rows.dtype["image_url"]) == ("utf-8", URL_BYTES)
        assert [url.decode() for url in rows["image_url"][:3]] == [HERE.image_url, "", THERE.image_url]
        assert rows["bounding_box"][0].tolist() == [*HERE.bounding_box]


@pytest.mark.parametrize("url", ["", "http://x/\0.jpg", "http://x/\ud800", "http://x/" + "ü" * 234, "h" * 477])
def test_an_address_that_does_not_fit_is_not_kept_and_its_logo_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    store = store_at(tmp_path / "s.hdf5", {7: Provenance(url, (0, 0, 1, 1)), 8: HERE})
    assert store.provenance([7, 8]) == {8: HERE}
    assert np.array_equal(store.get(7), vectors_of([7], DIM)[0])
    assert "The image of logo 7 is not kept" in caplog.text
    assert [*store.verify()] == []


def test_the_longest_address_is_kept_whole(tmp_path: Path) -> None:
    longest = Provenance("http://x/" + "é" * 233 + "a", (0, 0, 1, 1))
    assert store_at(tmp_path / "s.hdf5", {7: longest}).provenance([7]) == {7: longest}


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize(
    "url",
    [
        "http://x/1.jpg",
        "http://x/1.jpg#top",
        "http://x/1.jpg#exif-orientation=6",
        "http://x/1.jpg#exif-orientation=0",
        "http://x/1.jpg#exif-orientation=9",
        "http://x/#exif-orientation=6#exif-orientation=0",
    ],
)
def test_an_orientation_is_kept_whatever_the_address(tmp_path: Path, url: str, orientation: int | None) -> None:
    known = Provenance(url, (0, 0, 1, 1), orientation)
    assert store_at(tmp_path / "s.hdf5", {7: known}).provenance([7]) == {7: known}


def test_an_earlier_release_finds_the_photo_of_a_logo_whose_orientation_is_kept(tmp_path: Path) -> None:
    store_at(tmp_path / "s.hdf5", {7: Provenance("http://x/1.jpg?a=1", (0, 0, 1, 1), 6)}).close()
    with h5py.File(tmp_path / "s.hdf5", "r") as file:
        assert file["provenance"]["image_url"][0] == b"http://x/1.jpg?a=1#exif-orientation=6"


@pytest.mark.parametrize("room", range(25))
def test_an_orientation_is_left_out_rather_than_an_address(tmp_path: Path, room: int) -> None:
    url = "http://x/".ljust(URL_BYTES - room, "a")
    store = store_at(tmp_path / "s.hdf5", {7: Provenance(url, (0, 0, 1, 1), 6)})
    assert store.provenance([7]) == {
        7: Provenance(url, (0, 0, 1, 1), 6 if room >= len("#exif-orientation=6") else None)
    }


def test_an_address_that_would_be_read_as_another_is_not_kept(tmp_path: Path) -> None:
    url = "http://x/".ljust(URL_BYTES - 19, "a") + "#exif-orientation=6"
    store = store_at(tmp_path / "s.hdf5", {7: Provenance(url, (0, 0, 1, 1)), 8: HERE})
    assert store.provenance([7, 8]) == {8: HERE}


def test_more_or_fewer_provenances_than_logos_are_refused(path: Path) -> None:
    with EmbeddingStore(path) as store, pytest.raises(ValueError, match="zip"):
        store.append([7, 8], vectors_of([7, 8], DIM), [HERE])


def test_a_row_that_a_killed_writer_began_keeps_nothing_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with EmbeddingStore(path) as store, monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", killed)
        with pytest.raises(KeyboardInterrupt):
            store.append([9], vectors_of([9], DIM), [HERE])
    with EmbeddingStore(path) as store:
        assert store.append([9], vectors_of([9], DIM)) == [9]
        assert store.provenance([9]) == {}
        assert [*store.verify()] == []


@pytest.mark.parametrize("byte", [0, 100, 480, 511])
def test_damaged_provenance_costs_a_picture_and_no_row(path: Path, caplog: pytest.LogCaptureFixture, byte: int) -> None:
    damage_provenance(path, 0, byte)
    store = EmbeddingStore(path)
    assert store.provenance([1, 3]) == store.provenance([1, 3]) == {3: THERE}
    assert caplog.text.count("Damaged provenance in") == 1
    assert np.array_equal(store.get(1), vectors_of([1], DIM)[0])
    assert np.isfinite(store.vectors(np.array([1, 3]))).all()
    assert [*store.verify()] == [DamagedRow(row=0, logo_id=1, embedding=False)]


def test_a_bad_sector_costs_the_provenance_of_one_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = inspect(path)
    assert layout
    assert layout.offsets
    assert layout.offsets.provenance
    bad, pread = layout.offsets.provenance + RECORD_BYTES + 7, os.pread

    def failing(fd: int, size: int, offset: int) -> bytes:
        if offset <= bad < offset + size:
            raise OSError(errno.EIO, "bad sector")
        return pread(fd, size, offset)

    with EmbeddingStore(path) as store:
        monkeypatch.setattr(os, "pread", failing)
        assert store.provenance([1, 2, 3]) == {1: HERE, 3: THERE}
        (block,) = store.snapshot().blocks_with_provenance()
        assert block.ids.tolist() == [1, 2, 3]
        assert block.provenance == [HERE, None, THERE]
        assert [*store.verify()] == [DamagedRow(row=1, logo_id=2, embedding=False)]
        assert repair_store(path).torn == [2]


def test_a_deleted_logo_has_no_provenance_and_added_again_has_its_own(path: Path) -> None:
    with EmbeddingStore(path) as store:
        store.delete([1])
        assert store.provenance([1]) == {}
        store.append([1], vectors_of([1], DIM), [THERE])
        assert store.provenance([1]) == {1: THERE}


def test_rewriting_carries_it_and_leaves_out_what_is_damaged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddingStore(path) as store:
        store.append([4, 5], vectors_of([4, 5], DIM), [HERE, THERE])
        store.delete([1])
        damage_provenance(path, 3)
        rewrite_store(path, capacity=50)
        assert store.provenance([1, 2, 3, 4, 5]) == {3: THERE, 5: THERE}
        assert store.ids().tolist() == [2, 3, 4, 5]
        assert [*store.verify()] == []
    assert "Left out the damaged provenance in" in caplog.text


def test_logos_without_any_take_no_room_for_it(tmp_path: Path) -> None:
    def room_taken(origin: Provenance | None) -> int:
        path = tmp_path / f"{origin is None}.hdf5"
        store_at(path, dict.fromkeys(range(1, 90), origin)).close()
        backup_store(path, path.with_name("backup"))
        rewrite_store(path)
        path.with_name("backup").rename(path.with_suffix(".backup"))
        return (path.stat().st_blocks + path.with_suffix(".backup").stat().st_blocks) * 512

    assert room_taken(None) <= room_taken(HERE) - 2 * 40_000


def test_a_backup_and_what_is_restored_from_it_hold_it(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "b.hdf5"
    backup_store(path, backup)
    with EmbeddingStore(path) as store:
        store.append([4], vectors_of([4], DIM), [HERE])
    backup_store(path, backup)
    restore_store(backup, tmp_path / "r.hdf5")
    for copy in (backup, tmp_path / "r.hdf5"):
        assert EmbeddingStore(copy).provenance([1, 2, 3, 4]) == {1: HERE, 3: THERE, 4: HERE}


def test_a_backup_leaves_out_what_is_damaged_and_keeps_what_it_had(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "b.hdf5"
    backup_store(path, backup)
    with EmbeddingStore(path) as store:
        store.append([4], vectors_of([4], DIM), [HERE])
    damage_provenance(path, 0)
    damage_provenance(path, 3)
    assert backup_store(path, backup).logos == 4
    with EmbeddingStore(backup) as copy:
        assert copy.provenance([1, 2, 3, 4]) == {1: HERE, 3: THERE}
        assert [*copy.verify()] == []


def test_a_backup_whose_provenance_has_rotted_does_not_read_back(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "b.hdf5"
    backup_store(path, backup)
    damage_provenance(backup, 2)
    with pytest.raises(BackupError, match="does not read back: 1 rows are damaged, of logos 3"):
        backup_store(path, backup)


def test_repair_takes_it_from_a_backup_or_clears_it(path: Path, tmp_path: Path) -> None:
    backup_store(path, tmp_path / "b.hdf5")
    with EmbeddingStore(path) as store:
        store.append([4], vectors_of([4], DIM), [HERE])
    damage_embedding(path, 0)
    damage_provenance(path, 2)
    damage_provenance(path, 3)
    report = repair_store(path, tmp_path / "b.hdf5")
    assert (report.quarantined, report.torn, report.restored) == ([1], [3, 4], [1])
    with EmbeddingStore(path) as store:
        assert store.provenance([1, 2, 3, 4]) == {1: HERE, 3: THERE}
        assert [*store.verify()] == []


def test_a_store_without_its_header_is_migrated_with_it(path: Path) -> None:
    damage_provenance(path, 0)
    with path.open("r+b") as file:
        file.write(bytes(100))
    rewrite_store(path)
    with EmbeddingStore(path) as store:
        assert store.provenance([1, 2, 3]) == {3: THERE}
        assert [*store.verify()] == []


def test_a_long_address_is_logged_with_its_logo_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store_at(tmp_path / "s.hdf5", {7: Provenance("http://secret.test/" + "x" * 999, (0, 0, 1, 1))})
    assert "secret" not in caplog.text
