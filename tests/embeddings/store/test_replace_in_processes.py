"""Processes that replace logos: killed at any step, or read by others all the while."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from embeddings.maintenance.backup import backup_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from tests.embeddings.store.replaced import (
    DIM,
    IDS,
    NEW,
    OLD,
    REPLACED,
    put,
    stop_before_the_old_rows_go,
    store_of_four,
    vectors,
    version_of,
    versions_in,
)
from tests.embeddings.store.test_store_crash import die_at, run


@pytest.fixture(scope="module")
def children() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", __name__])
    return context


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return store_of_four(tmp_path / "s.hdf5")


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
