"""Whoever applies the changes since a moment to a copy of the logos as of that moment has the logos of now."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from embeddings.errors import StoreError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.changes import StoreMark
from embeddings.store.store import EmbeddingStore
from embeddings.store.writer_lock import writer_lock
from tests.embeddings.store.followed import NOTHING, Copy, alike, moment_of, told
from tests.embeddings.store.test_live_count import fails_at
from tests.properties import examples
from tests.stores import new_store
from tests.waiting import PATIENCE

STORES = 3
IDS = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True)


class CopyMachine(RuleBasedStateMachine):
    """A copy, and several stores on one file, each as another process has it."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name, "s.hdf5")
        self.stores: list[EmbeddingStore] = []
        self.copy = Copy()
        self.version = 0.0

    @initialize()
    def make(self) -> None:
        new_store(self.path, capacity=300)
        self.stores = [EmbeddingStore(self.path) for _ in range(STORES)]

    @rule(store=st.integers(0, STORES - 1), ids=IDS)
    def append(self, store: int, ids: list[int]) -> None:
        self.version += 1
        with suppress(StoreError):
            self.stores[store].append(ids, alike(len(ids), self.version))

    @rule(store=st.integers(0, STORES - 1), ids=IDS)
    def delete(self, store: int, ids: list[int]) -> None:
        with suppress(StoreError):
            self.stores[store].delete(ids)

    @rule(store=st.integers(0, STORES - 1), ids=IDS, delete=st.booleans(), failing=st.integers(1, 3))
    def change_while_a_sync_fails(self, store: int, ids: list[int], delete: bool, failing: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fdatasync", fails_at(failing))
            (self.delete if delete else self.append)(store, ids)

    @rule(store=st.integers(0, STORES - 1))
    def open_again(self, store: int) -> None:
        self.stores[store].close()
        self.stores[store] = EmbeddingStore(self.path)

    @rule()
    def compact(self) -> None:
        rewrite_store(self.path)

    @rule(store=st.integers(0, STORES - 1))
    def follow(self, store: int) -> None:
        self.copy.follow(self.stores[store])

    @rule()
    def forget(self) -> None:
        self.copy.moment = None

    @invariant()
    def holds_what_is_stored_once_it_follows(self) -> None:
        """Looked at through a store that nobody else has, so as not to change what the others know."""
        if not self.stores:
            return
        copy = Copy()
        copy.logos, copy.moment = dict(self.copy.logos), self.copy.moment
        with EmbeddingStore(self.path) as store:
            copy.follow(store)
            ids = store.ids()
            assert copy.logos == dict(zip(ids.tolist(), store.vectors(ids)[:, 0].tolist(), strict=True))
            assert store.count_since(self.copy.moment) == len(store.since(self.copy.moment).added)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.directory.cleanup()


def test_a_copy_that_follows_holds_what_is_stored() -> None:
    run_state_machine_as_test(CopyMachine, settings=examples(8, steps=30))


def test_the_first_time_all_logos_are_new(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 5, 3, 9)
    store.delete([3])
    assert told(store.since(None)) == {"added": [5, 9], "deleted": [3], "readded": [], "complete": True}


def test_nothing_happened_is_nothing_to_do(tmp_path: Path) -> None:
    for logo_ids in ((), (5, 3)):
        store = new_store(tmp_path / f"{len(logo_ids)}.hdf5", *logo_ids)
        moment = moment_of(store)
        changes = store.since(moment)
        assert told(changes) == NOTHING
        assert changes.mark.as_json() == store.mark().as_json()
        assert told(EmbeddingStore(store.path).since(moment)) == NOTHING  # nor for another process


def test_what_was_stored_and_deleted_since_is_told(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3)
    moment = moment_of(store)
    other = EmbeddingStore(store.path)
    other.append([7, 4], alike(2))
    other.delete([2, 7])
    assert told(store.since(moment)) == {"added": [4], "deleted": [2, 7], "readded": [], "complete": False}


def test_a_logo_that_was_deleted_and_stored_again_is_told_apart(tmp_path: Path) -> None:
    """Its vector may be another, so whoever holds it has to take it in again."""
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3)
    moment = moment_of(store)
    store.delete([2])
    store.append([2], alike(1, 5))
    assert told(store.since(moment)) == {"added": [2], "deleted": [], "readded": [2], "complete": False}


def test_logos_are_counted_while_another_process_rewrites_the_store(tmp_path: Path) -> None:
    """What names a logo that was deleted and came again has to wait for the writer; `/metrics` must not."""
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3)
    moment = moment_of(store)
    store.delete([2])
    store.append([2, 4], alike(2, 5))
    counted: list[int] = []
    with writer_lock(store.path):
        counting = threading.Thread(target=lambda: counted.append(store.count_since(moment)), daemon=True)
        counting.start()
        counting.join(PATIENCE)
        assert counted == [2]


def test_a_logo_that_was_stored_again_before_is_nothing_new(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3)
    store.delete([2])
    store.append([2], alike(1, 5))
    assert told(store.since(moment_of(store))) == NOTHING


def test_after_a_compaction_all_logos_are_looked_at(tmp_path: Path) -> None:
    """The rows are others, and what was deleted since is known nevertheless."""
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3, 4)
    moment = moment_of(store)
    store.delete([2])
    rewrite_store(store.path)
    store.append([5], alike(1))
    assert told(store.since(moment)) == {"added": [1, 3, 4, 5], "deleted": [2], "readded": [], "complete": True}


def test_a_file_put_back_in_the_place_of_another_is_told_by_its_rows(tmp_path: Path) -> None:
    """File systems give the inode of a removed file to the next one."""
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3, 4)
    other = new_store(tmp_path / "other.hdf5", 1, 2, 3, 9, 5)
    shorter = new_store(tmp_path / "shorter.hdf5", 1, 2, 3)
    moment = moment_of(store)
    for another in (other, shorter):
        status = another.path.stat()
        of_its_inode = {**moment, "file": [status.st_dev, status.st_ino]}
        assert another.since(of_its_inode).complete
        assert another.since(of_its_inode).added.tolist() == another.ids().tolist()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda moment: {},
        lambda moment: None,
        lambda moment: "a word",
        lambda moment: [1, 2],
        lambda moment: {**moment, "more": 1},
        lambda moment: {key: value for key, value in moment.items() if key != "row"},
        lambda moment: {**moment, "row": -1},
        lambda moment: {**moment, "row": 2.0},
        lambda moment: {**moment, "row": True},
        lambda moment: {**moment, "row": 2**70},
        lambda moment: {**moment, "last_slot": 17},
        lambda moment: {**moment, "file": 3},
        lambda moment: {**moment, "file": [1]},
        lambda moment: {**moment, "file": ["a", "b"]},
        lambda moment: {**moment, "file": [0, 0]},
    ],
)
def test_a_moment_that_is_none_of_this_store_tells_all(tmp_path: Path, spoil: Callable[[Any], object]) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3)
    store.delete([2])
    changes = store.since(spoil(moment_of(store)))
    assert told(changes) == {"added": [1, 3], "deleted": [2], "readded": [], "complete": True}
    assert told(store.since(changes.mark.as_json())) == NOTHING


def test_a_moment_with_fewer_rows_tells_what_came_after_them(tmp_path: Path) -> None:
    """A build that sent some of the rows, but knows all deletions since it began."""
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3, 4)
    began = store.mark()
    store.delete([1, 2])
    store.append([5], alike(1))
    after_two = began.at_row(2, 2)
    assert told(store.since(after_two.as_json())) == {
        "added": [3, 4, 5],
        "deleted": [1, 2],
        "readded": [],
        "complete": False,
    }
    assert store.since(began.at_row(0, 0).as_json()).added.tolist() == [3, 4, 5]


def test_a_mark_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2)
    store.delete([1])
    mark = store.mark()
    assert StoreMark.of_json(json.loads(json.dumps(mark.as_json()))) == mark
    assert (mark.row, mark.last_slot, mark.log_size) == (2, 2, 3)


def test_logos_drawn_at_random_are_stored_ones(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", *range(1, 41))
    store.delete(range(1, 31))
    drawn = {store.any_id() for _ in range(200)} - {None}
    assert drawn <= set(range(31, 41))
    assert len(drawn) > 3
    store.delete(range(31, 41))
    assert store.any_id() is None
    assert new_store(tmp_path / "empty.hdf5").any_id() is None
