"""Processes are killed with SIGKILL while they append, migrate and compact: what they acknowledged must be there.

Some are killed at a moment of chance; others kill themselves before, or halfway through, each call that changes the
disk.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.layout import ModelStamp, create_store, draft_path, inspect
from embeddings.rewrite import prepare_store, rewrite_store
from embeddings.store import EmbeddingStore

DIM = 32
STAMP = ModelStamp("a", "digest")
ORIGINAL_IDS = np.arange(1, 51)


@pytest.fixture(scope="module")
def children() -> ForkServerContext:
    """Where child processes come from: a server that has all modules loaded, so that each starts in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", __name__])
    return context


def vectors_of(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the embeddings, (n, DIM), that everybody stores for these ids."""
    embeddings: NDArray[np.float32] = np.sin(ids[:, None] * np.arange(1, DIM + 1)).astype(np.float32)
    return embeddings


def new_store(path: Path, capacity: int = 100_000) -> None:
    create_store(path, capacity=capacity, dim=DIM, stamp=STAMP)


def original(path: Path) -> None:
    with h5py.File(path, "w") as hdf5:
        hdf5.create_dataset("embedding", (60, DIM), "f", chunks=(20, 5))[:50] = vectors_of(ORIGINAL_IDS)
        hdf5.create_dataset("external_id", (60,), "i", chunks=True)[:50] = ORIGINAL_IDS


def check(path: Path, acknowledged: set[int]) -> None:
    """What was acknowledged is there; what is there is whole, and there once."""
    with EmbeddingStore(path) as store:
        blocks = [*store.snapshot().blocks()]
        ids = np.concatenate([np.zeros(0, np.int64), *(block[0] for block in blocks)])
        assert acknowledged <= set(ids.tolist())
        assert len(set(ids.tolist())) == len(ids) == len(store)
        assert all(np.array_equal(embeddings, vectors_of(block)) for block, embeddings in blocks)
        assert [*store.verify()] == []


def die_at(call: int, *, halfway: bool) -> None:
    """Make this process kill itself at its n-th call of those that change the disk."""
    calls = itertools.count()

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **named: Any) -> Any:
            if next(calls) == call:
                if halfway and name == "pwrite":
                    fd, content, offset = args
                    real(fd, content[: len(content) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **named)

        return function

    for name in ("pwrite", "fdatasync", "fsync", "link", "replace", "unlink", "chmod"):
        setattr(os, name, dying(name, getattr(os, name)))


def append_and_die(path: Path, ids: list[int], call: int, halfway: bool) -> None:
    with EmbeddingStore(path) as store:
        die_at(call, halfway=halfway)
        store.append(ids, vectors_of(np.array(ids)))


def prepare_and_die(path: Path, call: int, halfway: bool) -> None:
    die_at(call, halfway=halfway)
    prepare_store(path, capacity=100, dim=DIM, stamp=STAMP)


def compact_and_die(path: Path, call: int, halfway: bool) -> None:
    die_at(call, halfway=halfway)
    rewrite_store(path)


def append_for_ever(path: Path, seed: int, answers: Connection) -> None:
    chance = random.Random(seed)
    with EmbeddingStore(path) as store:
        while True:
            ids = chance.sample(range(1, 10**9), chance.choice([1, 1, 2, 10, 700]))
            answers.send(store.append(ids, vectors_of(np.array(ids))))


def compact_for_ever(path: Path, answers: Connection) -> None:
    while True:
        rewrite_store(path)
        answers.send([])


def append_all(path: Path, seed: int, ids: list[int], answers: Connection) -> None:
    chance = random.Random(seed)
    chance.shuffle(ids)
    with EmbeddingStore(path) as store:
        while ids:
            size = chance.choice([1, 1, 3, 20])
            batch, ids = ids[:size], ids[size:]
            answers.send(store.append(batch, vectors_of(np.array(batch))))


def append_big_batches(path: Path, answers: Connection) -> None:
    with EmbeddingStore(path) as store:
        for first in range(1, 60_001, 4000):
            ids = np.arange(first, first + 4000)
            answers.send(store.append(ids, vectors_of(ids)))


def run(children: ForkServerContext, target: Callable[..., None], *args: object) -> int:
    """Run a function in a child to its end, and return how that was."""
    child = children.Process(target=target, args=args)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def start(
    children: ForkServerContext, target: Callable[..., None], *args: object
) -> tuple[ForkServerProcess, Connection]:
    """Start a function in a child; what it acknowledges comes through the connection."""
    answers, of_child = children.Pipe(duplex=False)
    child = children.Process(target=target, args=(*args, of_child))
    child.start()
    of_child.close()
    return child, answers


def answers_until_death(answers: Connection) -> Iterator[list[int]]:
    while True:
        try:
            yield answers.recv()
        except (EOFError, OSError):  # at the end, or within an answer
            return


@pytest.mark.parametrize("halfway", [False, True])
def test_an_append_killed_at_any_step_leaves_whole_rows(
    tmp_path: Path, children: ForkServerContext, halfway: bool
) -> None:
    for call in itertools.count():
        path = tmp_path / f"{call}.hdf5"
        new_store(path)
        with EmbeddingStore(path) as store:
            store.append([1, 2], vectors_of(np.array([1, 2])))
        end = run(children, append_and_die, path, [3, 4, 5, 6], call, halfway)
        check(path, {1, 2} if end else {1, 2, 3, 4, 5, 6})
        with EmbeddingStore(path) as store:
            missing = store.missing([3, 4, 5, 6])
            assert store.append([3, 4, 5, 6], vectors_of(np.arange(3, 7))) == missing
        check(path, {1, 2, 3, 4, 5, 6})
        if end == 0:
            break
        assert end == -signal.SIGKILL
    assert call == 5


@pytest.mark.parametrize("halfway", [False, True])
def test_a_migration_killed_at_any_step_is_done_by_the_next_start(
    tmp_path: Path, children: ForkServerContext, halfway: bool
) -> None:
    for call in itertools.count():
        path = tmp_path / str(call) / "s.hdf5"
        path.parent.mkdir()
        original(path)
        before = path.read_bytes()
        end = run(children, prepare_and_die, path, call, halfway)
        layout = inspect(path)
        assert layout
        if layout.offsets is None:
            assert path.read_bytes() == before
        else:
            check(path, set(ORIGINAL_IDS.tolist()))
        prepare_store(path, capacity=100, dim=DIM, stamp=STAMP)
        check(path, set(ORIGINAL_IDS.tolist()))
        assert path.with_name("s.original.hdf5").read_bytes() == before
        assert len([*path.parent.glob("s.original*")]) == 1
        assert not draft_path(path).exists()
        if end == 0:
            break
        assert end == -signal.SIGKILL
    assert call > 15


def test_a_creation_killed_at_any_step_is_done_by_the_next_start(tmp_path: Path, children: ForkServerContext) -> None:
    for call in itertools.count():
        path = tmp_path / str(call) / "s.hdf5"
        end = run(children, prepare_and_die, path, call, False)
        assert path.exists() == (inspect(path) is not None)
        prepare_store(path, capacity=100, dim=DIM, stamp=STAMP)
        check(path, set())
        if end == 0:
            break
        assert end == -signal.SIGKILL
    assert call > 4


def test_a_compaction_killed_at_any_step_loses_nothing(tmp_path: Path, children: ForkServerContext) -> None:
    path = tmp_path / "s.hdf5"
    new_store(path, capacity=100)
    ids = np.arange(1, 41)
    with EmbeddingStore(path) as service:
        service.append(ids, vectors_of(ids))
        for call in itertools.count():
            end = run(children, compact_and_die, path, call, False)
            check(path, set(ids.tolist()))
            assert np.array_equal(service.ids(), ids)
            if end == 0:
                break
            assert end == -signal.SIGKILL
    assert call > 6
    assert not draft_path(path).exists()


def test_writers_killed_at_any_moment_lose_nothing_they_acknowledged(
    tmp_path: Path, children: ForkServerContext
) -> None:
    path = tmp_path / "s.hdf5"
    new_store(path, capacity=200_000)
    chance = random.Random(7)
    acknowledged: set[int] = set()
    for turn in range(12):
        running = [start(children, append_for_ever, path, 2 * turn + writer) for writer in range(2)]
        if turn % 3 == 0:
            running.append(start(children, compact_for_ever, path))
        for _, answers in running:
            assert answers.poll(30)
        time.sleep(chance.uniform(0, 0.04))
        for child, _ in running:
            child.kill()
        for child, answers in running:
            acknowledged.update(*answers_until_death(answers))
            child.join()
            assert child.exitcode == -signal.SIGKILL
        check(path, acknowledged)
    assert len(acknowledged) > 24


def test_contending_writers_store_each_logo_once(tmp_path: Path, children: ForkServerContext) -> None:
    path = tmp_path / "s.hdf5"
    new_store(path)
    ids = [*range(1, 401)]
    running = [start(children, append_all, path, seed, ids) for seed in range(4)]
    new = [logo_id for _, answers in running for stored in answers_until_death(answers) for logo_id in stored]
    for child, _ in running:
        child.join()
        assert child.exitcode == 0
    assert sorted(new) == ids
    check(path, set(ids))
    with EmbeddingStore(path) as store:
        assert len(store) == 400


def test_a_reader_beside_big_batches_misses_no_row(tmp_path: Path, children: ForkServerContext) -> None:
    path = tmp_path / "s.hdf5"
    new_store(path)
    with EmbeddingStore(path, writable=False) as reader:
        child, answers = start(children, append_big_batches, path)
        acknowledged = looks = 0
        while acknowledged < 60_000:  # look without a pause, while batches are being written
            if answers.poll():
                acknowledged = answers.recv()[-1]
            ids = reader.ids()
            assert np.array_equal(np.sort(ids)[:acknowledged], np.arange(1, acknowledged + 1))
            looks += 1
        child.join()
        assert child.exitcode == 0
        assert looks > 15
        assert all(logo_id in reader for logo_id in range(1, 60_001, 7))
