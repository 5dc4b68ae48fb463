"""A logo that is replaced has its old vector or its new one, at every instant, for everybody, and after a crash."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.errors import StoreFullError, StoreUnavailableError
from embeddings.maintenance.backup import backup_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import KnownRows
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from embeddings.store.writer_lock import is_free
from tests.embeddings.damage import damage_embedding
from tests.embeddings.store.test_store_crash import die_at, run

DIM = 8
OLD, NEW = 0, 1
IDS = [1, 2, 3, 4]
REPLACED = [2, 4, 9]  # the last one is new


@pytest.fixture(scope="module")
def children() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", __name__])
    return context


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    create_store(tmp_path / "s.hdf5", capacity=5000, dim=DIM, stamp=ModelStamp("a", "digest"))
    store = EmbeddingStore(tmp_path / "s.hdf5")
    put(store, IDS, OLD)
    return store


def vectors(ids: list[int], version: int) -> NDArray[np.float32]:
    return np.array([[logo_id + 100 * version] * DIM for logo_id in ids], np.float32).reshape(len(ids), DIM)


def origin(logo_id: int, version: int) -> Provenance:
    return Provenance(f"https://images.test/{logo_id}-{version}.jpg", (0.0, 0.0, 1.0, 0.5))


def put(store: EmbeddingStore, ids: list[int], version: int) -> list[int]:
    """Store logos, or replace them."""
    origins = [origin(logo_id, version) for logo_id in ids]
    return store.append(ids, vectors(ids, version), origins, replace=version > 0)


def version_of(store: EmbeddingStore, logo_id: int) -> int:
    """Return which version of a logo a store answers with, wherever it is asked."""
    vector = store.get(logo_id)
    version = round((float(vector[0]) - logo_id) / 100)
    assert np.array_equal(vector, vectors([logo_id], version)[0])
    assert np.array_equal(store.vectors(np.array([logo_id]))[0], vector)
    assert store.provenance([logo_id]) == {logo_id: origin(logo_id, version)}
    return version


def versions_in(path: Path) -> dict[int, int]:
    """Open a store, hold all that it answers against each other, and return which version of each logo it has."""
    with EmbeddingStore(path) as store:
        versions = {logo_id: version_of(store, logo_id) for logo_id in store.ids().tolist()}
        assert len(store.ids()) == len(store) == len(versions)
        blocks = [*store.snapshot().blocks_with_provenance()]
        for block in blocks:
            for logo_id, vector, known in zip(block.ids.tolist(), block.embeddings, block.provenance, strict=True):
                assert np.array_equal(vector, vectors([logo_id], versions[logo_id])[0])
                assert known == origin(logo_id, versions[logo_id])
        assert sum(len(block.ids) for block in blocks) == len(versions)
        assert store.deleted_among(versions) == set()
        assert [*store.verify()] == []
        return versions


def test_stored_logos_are_replaced_with_their_provenance_and_new_ones_stored(store: EmbeddingStore) -> None:
    other = EmbeddingStore(store.path, writable=False)
    assert other.vectors(np.array(IDS)).tolist() == vectors(IDS, OLD).tolist()
    assert put(store, REPLACED, NEW) == [9]
    due = {1: OLD, 3: OLD, 2: NEW, 4: NEW, 9: NEW}
    for process in (store, other):
        assert {logo_id: version_of(process, logo_id) for logo_id in due} == due
        assert process.ids().tolist() == [*due]
        assert len(process) == 5
    assert versions_in(store.path) == due


def test_another_process_measures_with_the_new_vectors_at_once(store: EmbeddingStore) -> None:
    other = EmbeddingStore(store.path)
    for version in range(1, 5):
        put(store, [2], version)
        assert other.vectors(np.array([1, 2])).tolist() == [
            *vectors([1], OLD).tolist(),
            *vectors([2], version).tolist(),
        ]


def test_without_provenance_the_old_one_goes(store: EmbeddingStore) -> None:
    store.append([2], vectors([2], NEW), replace=True)
    assert store.provenance([1, 2]) == {1: origin(1, OLD)}


def test_of_an_id_given_twice_the_first_is_stored(store: EmbeddingStore) -> None:
    store.append([2, 2], vectors([5, 6], OLD), replace=True)
    assert store.get(2).tolist() == vectors([5], OLD)[0].tolist()


def test_a_deleted_logo_is_new_and_a_replaced_one_can_be_deleted(store: EmbeddingStore) -> None:
    store.delete([2])
    assert put(store, [2, 3], NEW) == [2]
    assert store.delete([2, 3]) == [2, 3]
    for process in (store, EmbeddingStore(store.path)):
        assert process.ids().tolist() == [1, 4]
        assert process.deleted_among([1, 2, 3, 4]) == {2, 3}


def test_a_damaged_logo_can_be_replaced(store: EmbeddingStore) -> None:
    damage_embedding(store.path, row=1)
    put(store, [2], NEW)
    assert version_of(EmbeddingStore(store.path), 2) == NEW
    assert store.ids().tolist() == [1, 3, 4, 2]


def test_a_full_store_replaces_nothing(tmp_path: Path) -> None:
    create_store(tmp_path / "s.hdf5", capacity=5, dim=DIM, stamp=ModelStamp("a", "digest"))
    with EmbeddingStore(tmp_path / "s.hdf5") as store:
        put(store, IDS, OLD)
        with pytest.raises(StoreFullError, match="1 of them free, but 3 logos"):
            put(store, REPLACED, NEW)
    assert versions_in(tmp_path / "s.hdf5") == dict.fromkeys(IDS, OLD)
    assert rewrite_store(tmp_path / "s.hdf5", capacity=7).rows == 4
    with EmbeddingStore(tmp_path / "s.hdf5") as store:
        put(store, REPLACED, NEW)
    assert rewrite_store(tmp_path / "s.hdf5").rows == 5
    assert versions_in(tmp_path / "s.hdf5") == {1: OLD, 3: OLD, 2: NEW, 4: NEW, 9: NEW}


def test_replaced_logos_are_named_to_those_who_keep_a_copy(store: EmbeddingStore) -> None:
    mark = store.mark().as_json()
    put(store, REPLACED, NEW)
    changes = store.since(mark)
    assert changes.added.tolist() == [2, 4, 9]
    assert (changes.readded, changes.deleted) == ([2, 4], [])
    assert store.since(changes.mark.as_json()).readded == []
    assert store.ever_deleted() == set()


def test_a_backup_follows_replacements(store: EmbeddingStore, tmp_path: Path) -> None:
    backup = tmp_path / "b.hdf5"
    backup_store(store.path, backup)
    put(store, REPLACED, NEW)
    snapshot = store.snapshot()
    put(store, [4], 2)
    backup_store(store.path, backup)
    assert versions_in(backup) == versions_in(store.path) == {1: OLD, 3: OLD, 2: NEW, 9: NEW, 4: 2}
    found = [(ids.tolist(), rows[:, 0].tolist()) for ids, rows in snapshot.blocks()]
    assert found == [([1, 3, 2, 4, 9], [1, 3, 102, 104, 109])]


def replace_and_die(path: Path, call: int, halfway: bool) -> None:
    with EmbeddingStore(path) as store:
        die_at(call, halfway=halfway)
        put(store, REPLACED, NEW)


def write_and_die(path: Path, call: int) -> None:
    with EmbeddingStore(path) as store:
        die_at(call, halfway=False)
        put(store, [10], NEW)


@pytest.mark.parametrize("halfway", [False, True])
def test_a_replacement_killed_at_any_step_leaves_the_old_or_the_new(
    tmp_path: Path, children: ForkServerContext, halfway: bool
) -> None:
    seen = set()
    for call in itertools.count():
        path = tmp_path / f"{call}.hdf5"
        create_store(path, capacity=100, dim=DIM, stamp=ModelStamp("a", "digest"))
        with EmbeddingStore(path) as early:
            put(early, IDS, OLD)
            end = run(children, replace_and_die, path, call, halfway)
            versions = versions_in(path)
            assert {logo_id: version_of(early, logo_id) for logo_id in versions} == versions
            assert {*IDS} <= {*versions} <= {*IDS, 9}
            assert versions[1] == versions[3] == OLD
            assert versions.get(9, NEW) == NEW
            seen.add((versions[2], versions[4], 9 in versions))
            backup_store(path, tmp_path / f"{call}.backup.hdf5")
            assert versions_in(tmp_path / f"{call}.backup.hdf5") == versions
            put(early, [7], NEW)  # whoever writes next finishes it
            assert versions_in(path) == {**versions, 7: NEW}
            put(early, REPLACED, 2)
            rewrite_store(path)
            assert versions_in(path) == {1: OLD, 2: 2, 3: OLD, 4: 2, 7: NEW, 9: 2}
        if end == 0:
            break
        assert end == -signal.SIGKILL
    assert call > 8
    assert {(OLD, OLD, False), (NEW, NEW, True)} <= seen


def test_the_next_writer_may_be_killed_finishing_it(tmp_path: Path, children: ForkServerContext) -> None:
    due = {1: OLD, 2: NEW, 3: OLD, 4: NEW, 9: NEW}
    for call in itertools.count():
        path = tmp_path / f"{call}.hdf5"
        create_store(path, capacity=100, dim=DIM, stamp=ModelStamp("a", "digest"))
        with EmbeddingStore(path) as store:
            put(store, IDS, OLD)
        stop_before_the_old_rows_go(path)
        assert versions_in(path) == due
        end = run(children, write_and_die, path, call)
        versions = versions_in(path)
        assert versions.pop(10, NEW) == NEW
        assert versions == due
        rewrite_store(path)
        assert {**versions_in(path), 10: NEW} == {**due, 10: NEW}
        if end == 0:
            break
        assert end == -signal.SIGKILL
    assert call > 8


def stop_before_the_old_rows_go(path: Path) -> None:
    """Replace logos, and end as a process does that is killed when the new rows are on the disk."""
    with pytest.MonkeyPatch.context() as patch, EmbeddingStore(path) as store:
        patch.setattr(DeletionLog, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            put(store, REPLACED, NEW)


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_compaction_finishes_what_a_killed_process_left(store: EmbeddingStore) -> None:
    stop_before_the_old_rows_go(store.path)
    assert rewrite_store(store.path).rows == 5
    assert versions_in(store.path) == {1: OLD, 2: NEW, 3: OLD, 4: NEW, 9: NEW}


def test_a_replaced_logo_is_deleted_whole_also_when_the_replacement_was_killed(store: EmbeddingStore) -> None:
    stop_before_the_old_rows_go(store.path)
    assert EmbeddingStore(store.path).delete([2, 9]) == [2, 9]
    assert store.ids().tolist() == [1, 3, 4]
    assert versions_in_part(store) == {1: OLD, 3: OLD, 4: NEW}


def versions_in_part(store: EmbeddingStore) -> dict[int, int]:
    return {logo_id: version_of(store, logo_id) for logo_id in store.ids().tolist()}


@pytest.mark.parametrize("failing", [0, 1, 2, 3])
def test_a_failed_sync_leaves_the_old_or_the_new_for_everybody(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    other = EmbeddingStore(store.path)
    fdatasync, calls = os.fdatasync, itertools.count()

    def fail(fd: int) -> None:
        number = next(calls)
        if number == 1:
            assert len(other.ids()) == 5  # it sees the new rows, which are taken back if their sync fails
        if number == failing:
            raise OSError(errno.EIO, "Input/output error")
        fdatasync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(StoreUnavailableError):
            put(store, REPLACED, NEW)
    due = OLD if failing < 2 else NEW
    for process in (store, other, EmbeddingStore(store.path)):
        assert {logo_id: version_of(process, logo_id) for logo_id in IDS} == {1: OLD, 2: due, 3: OLD, 4: due}
        assert sorted(process.ids().tolist()) == [*IDS, *([9] if due else [])]
    put(other, [2], 2)
    put(EmbeddingStore(store.path), [7], NEW)
    assert versions_in(store.path) == {1: OLD, 2: 2, 3: OLD, 4: due, 7: NEW, **({9: NEW} if due else {})}


@pytest.mark.parametrize("times", [1, 2, 10])
def test_a_list_of_all_logos_misses_none_that_is_replaced_meanwhile(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, times: int, tmp_path: Path
) -> None:
    reader, real, versions = EmbeddingStore(store.path), SeenRows.slots, itertools.count(1)
    left = 0

    def slots_later(seen: SeenRows, first: int, end: int) -> NDArray[np.int64]:
        nonlocal left
        if left and not held(store.path):
            left -= 1
            put(store, [2, 4], next(versions))
        return real(seen, first, end)

    def snapshot() -> list[int]:
        ids: list[int] = reader.snapshot().ids.tolist()
        return ids

    lists: list[Callable[[], list[int]]] = [
        lambda: reader.ids().tolist(),
        lambda: [logo_id for ids in reader.stored_ids().blocks() for logo_id in ids.tolist()],
        snapshot,
    ]
    for ask in lists:
        with monkeypatch.context() as patch:
            patch.setattr(SeenRows, "slots", slots_later)
            left = times
            assert sorted(ask()) == IDS
            left = times
            assert len(reader) == 4
            left = times
            backup_store(store.path, tmp_path / "b.hdf5")
        assert sorted(versions_in(tmp_path / "b.hdf5")) == IDS


@pytest.mark.parametrize("times", [1, 2, 10])
def test_a_logo_that_is_replaced_after_every_look_is_found(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    reader, real, versions = EmbeddingStore(store.path), KnownRows.look, itertools.count(1)
    left = 0

    def look_early(known: KnownRows, *, alone: bool = False) -> None:
        nonlocal left
        real(known, alone=alone)
        if left and not held(store.path):
            left -= 1
            put(store, [2], next(versions))

    asks: list[Callable[[], bool]] = [
        lambda: reader.get(2)[0] > 100,
        lambda: reader.missing([2]) == [],
        lambda: 2 in reader,
        lambda: [*reader.provenance([2])] == [2],
    ]
    for ask in asks:
        put(store, [2], next(versions))
        with monkeypatch.context() as patch:
            patch.setattr(KnownRows, "look", look_early)
            left = times
            assert ask()


def test_an_old_row_does_not_come_back_when_the_row_after_it_is_replaced_too(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_before_the_old_rows_go(store.path)
    reader, real, versions = EmbeddingStore(store.path), KnownRows.find, iter([2])

    def find_late(known: KnownRows, logo_id: int) -> int | None:
        if not held(store.path) and (version := next(versions, None)):
            put(store, [2], version)
        return real(known, logo_id)

    with monkeypatch.context() as patch:
        patch.setattr(KnownRows, "find", find_late)
        assert reader.vectors(np.array([2])).tolist() == vectors([2], NEW).tolist()
    assert next(versions, None) is None
    assert reader.vectors(np.array([2])).tolist() == vectors([2], 2).tolist()


def held(path: Path) -> bool:
    """Tell whether somebody holds the writer's lock, so that writing would wait."""
    return not is_free(path)


def replace_again_and_again(path: Path, rounds: int) -> None:
    with EmbeddingStore(path) as store:
        for version in range(1, rounds + 1):
            put(store, [2, 4], version)


def test_readers_that_never_pause_find_each_logo_once_and_never_an_older_version(
    store: EmbeddingStore, children: ForkServerContext
) -> None:
    child = children.Process(target=replace_again_and_again, args=(store.path, 300))
    child.start()
    last = {2: 0, 4: 0}
    looks = 0
    while child.is_alive() or looks < 20:
        looks += 1
        assert sorted(store.ids().tolist()) == IDS
        assert len(store) == 4
        taken = {
            logo_id: row[0] for ids, rows in store.snapshot().blocks() for logo_id, row in zip(ids, rows, strict=True)
        }
        assert sorted(taken) == IDS
        for logo_id in (2, 4):
            for vector in (store.get(logo_id), store.vectors(np.array([1, logo_id]))[1]):
                version = round((float(vector[0]) - logo_id) / 100)
                assert np.array_equal(vector, vectors([logo_id], version)[0])
                assert version >= last[logo_id]
                last[logo_id] = version
    child.join()
    assert child.exitcode == 0
    assert versions_in(store.path) == {1: OLD, 3: OLD, 2: 300, 4: 300}
