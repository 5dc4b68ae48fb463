from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.store.id_table import MAX_ID, WINDOW, IdTable, KnownRows
from embeddings.store.layout import ModelStamp
from embeddings.store.store_file import StoreFile
from embeddings.store.store_path import create_store

ids = st.integers(1, 40) | st.integers(1, MAX_ID)


@given(bulk=st.lists(ids), batches=st.lists(st.lists(ids, max_size=5), max_size=12), merge_at=st.integers(1, 10))
def test_the_table_answers_like_a_dict(bulk: list[int], batches: list[list[int]], merge_at: int) -> None:
    table = IdTable(np.array(bulk, np.int64), np.arange(len(bulk)), merge_at=merge_at)
    expected = dict(zip(bulk, range(len(bulk)), strict=True))
    row = len(bulk)
    for batch in batches:
        rows = range(row, row + len(batch))
        table.add(batch, rows)
        expected.update(zip(batch, rows, strict=True))
        row += len(batch)
    assert {logo_id: table.row_of(logo_id) for logo_id in expected} == expected
    assert all(table.row_of(logo_id) is None for logo_id in range(1, 42) if logo_id not in expected)


def test_readers_see_every_id_while_others_are_added_and_merged() -> None:
    known = np.arange(1, 5001)
    table = IdTable(known, known, merge_at=100)
    stop = threading.Event()
    wrong: list[int] = []

    def read() -> None:
        while not stop.is_set():
            wrong.extend(logo_id for logo_id in range(1, 5001, 50) if table.row_of(logo_id) != logo_id)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for first in range(5001, 25_001, 20):
        table.add(range(first, first + 20), range(first, first + 20))
        wrong.extend(logo_id for logo_id in (first, first + 19, first - 150) if table.row_of(logo_id) != logo_id)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def new_file(path: Path, capacity: int = 3 * WINDOW) -> StoreFile:
    create_store(path, capacity=capacity, dim=2, stamp=ModelStamp("", ""))
    return StoreFile(path, writable=True)


def content(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(rows).random((rows, 2), np.float32)


def test_known_rows_are_those_with_an_id(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5")
    stored = np.array([5, 6, -7])
    file.write_content(0, stored, content(3))
    file.write_ids(0, stored)
    known = KnownRows(file)
    assert [known.find(logo_id) for logo_id in (5, 6, 7, -7, 0, 99, MAX_ID + 1)] == [0, 1, None, None, None, None, None]
    assert (known.end, known.pending) == (3, set())


def test_a_look_adds_the_rows_stored_since(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5")
    known = KnownRows(file)
    many = np.arange(1, 2 * WINDOW + 1)
    file.write_content(0, many, content(len(many)))
    file.write_ids(0, many)
    assert known.find(2 * WINDOW) is None
    known.look()
    assert known.find(1) == 0
    assert known.find(2 * WINDOW) == 2 * WINDOW - 1


def test_an_id_seen_late_is_not_missed(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5")
    batch = np.array([5, 6, 7])
    file.write_content(0, batch, content(3))
    file.write_ids(2, batch[2:])
    known = KnownRows(file)
    assert known.find(7) == 2
    assert known.pending == {0, 1}
    file.write_ids(0, batch[:2])
    known.look()
    assert [known.find(logo_id) for logo_id in (5, 6)] == [0, 1]
    assert known.pending == set()


def test_a_row_is_believed_once_its_checksum_agrees(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5")
    file.write_ids(0, np.array([5]))
    known = KnownRows(file)
    assert known.find(5) is None
    file.write_content(0, np.array([5]), content(1))
    known.look()
    assert known.find(5) == 0


def test_whoever_holds_the_lock_knows_that_nothing_is_pending(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5")
    file.write_ids(1, np.array([5]))
    known = KnownRows(file)
    assert known.pending == {0, 1}
    known.look(alone=True)
    assert known.pending == set()
    assert known.find(5) == 1  # the row is damaged, so no other logo may use it


@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_later_batch_shows_that_an_earlier_one_has_ended(tmp_path: Path, opened: str) -> None:
    file = new_file(tmp_path / "s.hdf5")
    file.write_ids(1, np.array([5]))  # row 0 stays empty, row 1 is damaged
    known = KnownRows(file)
    later = np.arange(100, 100 + WINDOW)
    file.write_content(2, later, content(WINDOW))
    file.write_ids(2, later)
    if opened == "after":
        known = KnownRows(file)
    known.look()
    assert known.pending == set()
    assert known.find(5) == 1
    assert known.find(100) == 2


def test_a_row_seen_late_needs_another_sync(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5")
    batch = np.array([5, 6])
    file.write_content(0, batch, content(2))
    file.write_ids(1, batch[1:])
    known = KnownRows(file)
    known.make_durable()
    assert known.synced == 2
    file.write_ids(0, batch[:1])
    known.look()
    assert known.synced == 0
    known.make_durable()
    assert known.synced == 2


@pytest.mark.parametrize("late", [0, 1])
def test_of_two_whole_rows_with_one_id_the_later_counts_whichever_is_seen_first(tmp_path: Path, late: int) -> None:
    file = new_file(tmp_path / "s.hdf5")
    file.write_content(0, np.array([5, 5]), content(2))
    file.write_ids(1 - late, np.array([5]))
    known = KnownRows(file)
    assert known.find(5) == 1 - late
    file.write_ids(late, np.array([5]))
    known.look()
    assert known.find(5) == 1
    assert known.superseded == {0}


def test_opening_reads_the_used_rows_and_not_the_hole_after_them(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5", capacity=10_000_000)
    file.write_content(0, np.array([5]), content(1))
    file.write_ids(0, np.array([5]))

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = bytes_read()
    known = KnownRows(file)
    assert known.find(5) == 0
    assert bytes_read() - before < 3_000_000


def test_a_full_file_is_read_to_its_end(tmp_path: Path) -> None:
    file = new_file(tmp_path / "s.hdf5", capacity=3)
    batch = np.array([5, 6, 7])
    file.write_content(0, batch, content(3))
    file.write_ids(0, batch)
    known = KnownRows(file)
    known.look()
    assert known.end == 3
    assert known.find(7) == 2
