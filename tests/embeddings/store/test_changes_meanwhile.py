"""Changes that are read while others write, or from a log of deletions that was cut, replaced or half written."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embeddings.store.commit
import embeddings.store.writer
from embeddings.store.changes import Changes, StoreMark
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import KnownRows
from embeddings.store.live_rows import LiveRows
from embeddings.store.snapshot import Snapshot
from embeddings.store.store import EmbeddingStore
from tests.embeddings.damage import damage_embedding
from tests.embeddings.store.followed import NOTHING, Copy, alike, moment_of, told
from tests.stores import new_store
from tests.waiting import wait_until


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
