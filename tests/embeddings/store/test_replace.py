"""A logo that is replaced has its old vector or its new one, at every instant, for everybody."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.errors import StoreFullError, StoreUnavailableError
from embeddings.maintenance.backup import backup_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.id_table import KnownRows
from embeddings.store.layout import ModelStamp
from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from embeddings.store.writer_lock import is_free
from tests.embeddings.damage import damage_embedding
from tests.embeddings.store.replaced import (
    DIM,
    IDS,
    NEW,
    OLD,
    REPLACED,
    origin,
    put,
    stop_before_the_old_rows_go,
    store_of_four,
    vectors,
    version_of,
    versions_in,
)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return store_of_four(tmp_path / "s.hdf5")


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
