"""Whoever applies the changes since a moment to a copy of the logos as of that moment has the logos of now."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from numpy.typing import NDArray

import embeddings.store.commit
import embeddings.store.writer
from embeddings.errors import StoreError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.changes import Changes, StoreMark
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import KnownRows
from embeddings.store.live_rows import LiveRows
from embeddings.store.snapshot import Snapshot
from embeddings.store.store import EmbeddingStore
from embeddings.store.writer_lock import writer_lock
from tests.embeddings.damage import damage_embedding
from tests.embeddings.store.test_live_count import fails_at
from tests.properties import examples
from tests.stores import DIM, new_store
from tests.waiting import PATIENCE, wait_until

STORES = 3
IDS = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True)


def alike(count: int, value: float = 0.0) -> NDArray[np.float32]:
    return np.full((count, DIM), value, np.float32)


def moment_of(store: EmbeddingStore) -> dict[str, Any]:
    """A mark as it is read from a file again."""
    moment: dict[str, Any] = json.loads(json.dumps(store.mark().as_json()))
    return moment


def told(changes: Changes) -> dict[str, Any]:
    return {
        "added": changes.added.tolist(),
        "deleted": changes.deleted,
        "readded": changes.readded,
        "complete": changes.complete,
    }


NOTHING: dict[str, Any] = {"added": [], "deleted": [], "readded": [], "complete": False}


class Copy:
    """A copy of the logos, kept as `index.milvus.feed` keeps one: what it holds is taken anew only if deleted."""

    def __init__(self) -> None:
        self.logos: dict[int, float] = {}
        self.moment: object = None

    def follow(self, store: EmbeddingStore) -> Changes:
        changes = store.since(self.moment)
        for logo_id in changes.deleted:
            self.logos.pop(logo_id, None)
        absent = [logo_id for logo_id in changes.added.tolist() if logo_id not in self.logos]
        sent = np.array(absent + changes.readded, np.int64)
        found = zip(sent.tolist(), store.vectors(sent)[:, 0].tolist(), strict=True)
        self.logos |= {logo_id: value for logo_id, value in found if not np.isnan(value)}
        self.moment = json.loads(json.dumps(changes.mark.as_json()))
        return changes


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


def test_another_log_of_deletions_is_read_from_its_beginning(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3, 4)
    store.delete([1])
    moment = moment_of(store)
    log = tmp_path / "s.hdf5.deleted"
    shutil.copy(log, tmp_path / "copy")
    (tmp_path / "copy").replace(log)
    store.delete([2])
    assert told(store.since(moment)) == {"added": [], "deleted": [1, 2], "readded": [], "complete": False}


@pytest.mark.parametrize("size", [1000, 2**70])
def test_a_log_that_became_shorter_is_read_from_its_beginning(tmp_path: Path, size: int) -> None:
    """As one that was emptied is, or a new one that was given the inode of the old."""
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3, 4)
    store.delete([1])
    moment = {**moment_of(store), "log_size": size}
    assert told(store.since(moment)) == {"added": [], "deleted": [1], "readded": [], "complete": False}


def test_without_a_log_nothing_was_deleted(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3)
    store.delete([1])
    moment = moment_of(store)
    (tmp_path / "s.hdf5.deleted").unlink()
    changes = store.since(moment)
    assert told(changes) == NOTHING
    store.delete([2])
    assert told(store.since(changes.mark.as_json()))["deleted"] == [2]


def test_a_log_that_cannot_be_read_is_read_the_next_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2, 3)
    store.delete([1])
    moment = moment_of(store)
    log, aside = tmp_path / "s.hdf5.deleted", tmp_path / "aside"
    store.delete([2])
    log.rename(aside)
    log.mkdir()
    changes = store.since(moment)
    assert told(changes) == NOTHING
    assert "cannot be read" in caplog.text
    log.rmdir()
    aside.rename(log)
    assert told(store.since(changes.mark.as_json()))["deleted"] == [2]


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 22)
    log = tmp_path / "s.hdf5.deleted"
    log.write_text("2")
    changes = store.since(None)
    assert told(changes) == {"added": [1, 22], "deleted": [], "readded": [], "complete": True}
    log.write_text("22\n")
    assert told(store.since(changes.mark.as_json()))["readded"] == [22]


def test_rows_that_cannot_be_believed_yet_come_later(tmp_path: Path) -> None:
    """Another process is writing them: an id may be seen before the one in front of it, or before its vector."""
    store = new_store(tmp_path / "s.hdf5", 1, 2)
    reader = EmbeddingStore(store.path)
    moment = moment_of(reader)
    store.append([3, 4], alike(2))
    whole = store.path.read_bytes()
    damage_embedding(store.path, 2)
    changes = reader.since(moment)
    assert told(changes) == NOTHING
    with store.path.open("r+b") as file:  # the same file, as it was meant
        file.write(whole)
    assert told(reader.since(changes.mark.as_json())) == {**NOTHING, "added": [3, 4]}
    assert told(reader.since(moment)) == {**NOTHING, "added": [3, 4]}


def test_a_process_that_believes_less_than_the_one_before_it_loses_nothing(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.hdf5", 1, 2)
    reader = EmbeddingStore(store.path)
    store.append([3, 4], alike(2))
    damage_embedding(store.path, 2)
    believing = EmbeddingStore(store.path)  # it waited for the writers, and knows that the row is damaged
    moment = moment_of(believing)
    assert believing.since(None).added.tolist() == [1, 2, 3, 4]
    changes = reader.since(moment)
    assert told(changes) == NOTHING
    believing.append([5], alike(1))
    assert believing.since(changes.mark.as_json()).added.tolist() == [3, 4, 5]


def test_a_logo_that_is_just_being_deleted_is_not_taken_for_one_that_came_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is in the log before its row goes; the copy would keep it for ever."""
    store, other = new_store(tmp_path / "s.hdf5", 1, 2, 3), EmbeddingStore(tmp_path / "s.hdf5")
    moment = moment_of(other)
    seen: list[Changes] = []
    looking = threading.Thread(target=lambda: seen.append(other.since(moment)))
    commit = embeddings.store.commit.commit

    def commit_while_another_looks(*args: Any) -> None:
        looking.start()
        looking.join(0.3)
        commit(*args)

    monkeypatch.setattr(embeddings.store.writer, "commit", commit_while_another_looks)
    store.delete([2])
    looking.join()
    (changes,) = seen
    later = other.since(changes.mark.as_json())
    assert 2 in changes.deleted + later.deleted
    assert 2 not in (changes.readded + later.readded)


def test_a_logo_that_is_just_being_deleted_is_told_to_who_takes_a_snapshot_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either the snapshot lacks it, or what happened since the moment before it names it."""
    store, other = new_store(tmp_path / "s.hdf5", 1, 2, 3), EmbeddingStore(tmp_path / "s.hdf5")
    taken: list[tuple[StoreMark, Snapshot]] = []
    taking = threading.Thread(target=lambda: taken.append((other.mark(), other.snapshot())))
    commit = embeddings.store.commit.commit

    def commit_while_another_takes(*args: Any) -> None:
        taking.start()
        taking.join(0.3)
        commit(*args)

    monkeypatch.setattr(embeddings.store.writer, "commit", commit_while_another_takes)
    store.delete([2])
    taking.join()
    ((moment, snapshot),) = taken
    assert 2 not in snapshot.ids or 2 in other.since(moment.as_json()).deleted


def test_a_logo_whose_row_goes_while_changes_are_read_was_not_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named as deleted and as added, it would be kept by a copy, and its next vector would not be taken."""
    other = new_store(tmp_path / "s.hdf5", 1)
    store = EmbeddingStore(tmp_path / "s.hdf5", writable=False)
    copy = Copy()
    copy.follow(store)
    other.append([2], alike(1, 5.0))
    find = LiveRows.find

    def find_once_it_is_gone(rows: LiveRows, logo_id: int) -> tuple[KnownRows, int | None]:
        monkeypatch.undo()
        other.delete([2])
        return find(rows, logo_id)

    DeletionLog(tmp_path / "s.hdf5").write([2])  # a deletion begins with this
    monkeypatch.setattr(LiveRows, "find", find_once_it_is_gone)
    assert told(copy.follow(store)) == {**NOTHING, "deleted": [2]}
    other.append([2], alike(1, 6.0))
    copy.follow(store)
    assert copy.logos[2] == 6.0


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


def test_a_copy_that_follows_while_others_write_holds_what_is_stored_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    new_store(path, capacity=5000).close()
    done = threading.Event()
    copy = Copy()

    def follow() -> None:
        with EmbeddingStore(path, writable=False) as reader:
            while not done.is_set():
                copy.follow(reader)

    def write(seed: int) -> None:
        rng = np.random.default_rng(seed)
        with EmbeddingStore(path) as store:
            for version in range(40):
                ids = rng.choice(np.arange(1, 30), 3, replace=False).tolist()
                if version % 2:
                    store.delete(ids)
                else:
                    store.append(ids, alike(3, 100 * seed + version))

    follower = threading.Thread(target=follow)
    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for thread in (follower, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    wait_until(lambda: not follower.is_alive())
    with EmbeddingStore(path) as store:
        copy.follow(store)
        ids = store.ids()
        assert copy.logos == dict(zip(ids.tolist(), store.vectors(ids)[:, 0].tolist(), strict=True))
