"""The count is that of a full scan, whoever changes the file, and costs no scan while nothing goes."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from numpy.typing import NDArray

import embeddings.store.commit
import embeddings.store.live_count
import embeddings.store.writer
from embeddings.errors import StoreError
from embeddings.maintenance.repair import repair_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from embeddings.store.store_path import create_store
from embeddings.store.writer_lock import writer_lock
from tests.properties import examples
from tests.stores import DIM, STAMP, vectors

BATCH, STORES = 4, 3
IDS = st.lists(st.integers(1, 60), min_size=1, max_size=BATCH, unique=True)


def scan(path: Path) -> int:
    with EmbeddingStore(path, writable=False) as store:
        return len(store.ids())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows count as settled soon, as they do with batches of at most four rows."""
    monkeypatch.setattr(embeddings.store.live_count, "WINDOW", BATCH)
    monkeypatch.setattr(embeddings.store.live_count, "_UNSETTLED", 2 * BATCH)


class CountMachine(RuleBasedStateMachine):
    """Several stores on one file."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name, "s.hdf5")
        self.stores: list[EmbeddingStore] = []

    @initialize()
    def make(self) -> None:
        create_store(self.path, capacity=400, dim=DIM, stamp=STAMP)
        self.stores = [EmbeddingStore(self.path) for _ in range(STORES)]
        self.stores[0].append([*range(1, 31)], vectors(30))

    @rule(store=st.integers(0, STORES - 1), ids=IDS)
    def append(self, store: int, ids: list[int]) -> None:
        with suppress(StoreError):
            self.stores[store].append(ids, vectors(len(ids)))

    @rule(store=st.integers(0, STORES - 1), ids=IDS)
    def delete(self, store: int, ids: list[int]) -> None:
        with suppress(StoreError):
            self.stores[store].delete(ids)

    @rule(store=st.integers(0, STORES - 1), ids=IDS, delete=st.booleans(), failing=st.integers(1, 3))
    def change_while_a_sync_fails(self, store: int, ids: list[int], delete: bool, failing: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fdatasync", fails_at(failing))
            (self.delete if delete else self.append)(store, ids)
        self.stores[store].close()
        self.stores[store] = EmbeddingStore(self.path)

    @rule(store=st.integers(0, STORES - 1))
    def add_again_what_was_deleted(self, store: int) -> None:
        ids = self.stores[store].ids().tolist()[:BATCH]
        self.delete(store, ids)
        self.append(store, ids)

    @rule()
    def compact(self) -> None:
        rewrite_store(self.path)

    @rule(place=st.integers(0, 60))
    def repair_a_damaged_row(self, place: int) -> None:
        seen = self.stores[0].seen()
        live = np.flatnonzero(seen.slots(0, seen.end) > 0)
        if len(live):
            file = StoreFile(self.path, writable=True)
            row = int(live[place % len(live)])
            file.write_content(row, np.array([10**9]), vectors(1))
            repair_store(self.path)

    @rule(lagging=st.integers(0, STORES - 1))
    def count_in_all_but_one(self, lagging: int) -> None:
        assert {len(store) for place, store in enumerate(self.stores) if place != lagging} == {scan(self.path)}

    @invariant()
    def the_first_counts_as_a_scan_does(self) -> None:
        if self.stores:
            assert len(self.stores[0]) == scan(self.path)

    def teardown(self) -> None:
        for store in self.stores:
            assert len(store) == scan(self.path)
            store.close()
        self.directory.cleanup()


def fails_at(failing: int) -> Callable[[int], None]:
    calls = iter(range(1, 100))
    real = os.fdatasync

    def sync(fd: int) -> None:
        if next(calls) == failing:
            raise OSError(5, "Input/output error")
        real(fd)

    return sync


@pytest.mark.usefixtures("small_batches")
def test_all_stores_count_what_a_scan_counts() -> None:
    run_state_machine_as_test(CountMachine, settings=examples(20, steps=25))


@pytest.fixture
def two(tmp_path: Path, small_batches: None) -> Iterator[tuple[EmbeddingStore, EmbeddingStore]]:
    """Two stores on one file of 40 logos, which have counted it."""
    create_store(tmp_path / "s.hdf5", capacity=400, dim=DIM, stamp=STAMP)
    with EmbeddingStore(tmp_path / "s.hdf5") as ours, EmbeddingStore(tmp_path / "s.hdf5") as theirs:
        ours.append([*range(1, 41)], vectors(40))
        assert len(ours) == len(theirs) == 40
        yield ours, theirs


def test_count_in_the_middle_of_a_deletion_is_not_kept(
    two: tuple[EmbeddingStore, EmbeddingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two
    counted = []
    commit = embeddings.store.commit.commit

    def count_before_and_after(file: StoreFile, slots: dict[int, NDArray[np.int64]]) -> None:
        counted.append(len(theirs))  # the log tells of the deletion, but the row is still there
        commit(file, slots)
        counted.append(len(theirs))

    monkeypatch.setattr("embeddings.store.writer.commit", count_before_and_after)
    ours.delete([1])
    assert [*counted, len(theirs), len(theirs)] == [40, 39, 39, 39]


def test_rows_taken_back_after_a_failed_sync_are_not_counted(
    two: tuple[EmbeddingStore, EmbeddingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two
    counted = []
    syncs = itertools.count(1)

    def fail_at_the_ids(fd: int) -> None:
        if next(syncs) == 2:
            counted.append(len(theirs))  # the ids are in the kernel's cache, for everybody to see
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail_at_the_ids)
    with pytest.raises(StoreError):
        ours.append([*range(101, 101 + BATCH)], vectors(BATCH))
    assert [*counted, len(theirs)] == [40 + BATCH, 40]


def test_count_reads_the_whole_file_only_after_a_deletion_or_beside_a_writer(
    two: tuple[EmbeddingStore, EmbeddingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two
    read: list[int] = []
    slots = SeenRows.slots

    def counted(seen: SeenRows, first: int, stop: int) -> NDArray[np.int64]:
        read.append(stop - first)
        return slots(seen, first, stop)

    monkeypatch.setattr(SeenRows, "slots", counted)

    def rows_read() -> int:
        read.clear()
        assert len(theirs) == len(ours)
        read.clear()
        assert len(theirs) > 0
        return sum(read)

    assert rows_read() <= 2 * BATCH
    ours.append([101, 102], vectors(2))
    assert rows_read() <= 2 * BATCH
    ours.delete([1])
    assert len(theirs) == 41
    assert rows_read() <= 2 * BATCH
    ours.delete([2])
    with writer_lock(ours.path):
        assert rows_read() == 42


def test_count_that_cannot_be_kept_is_right_all_the_same(
    two: tuple[EmbeddingStore, EmbeddingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two
    monkeypatch.setattr(embeddings.store.live_count, "is_free", lambda path: False)  # the lock cannot be opened
    ours.delete([1, 2])
    assert len(theirs) == 38
    ours.delete([3])
    assert len(theirs) == 37
