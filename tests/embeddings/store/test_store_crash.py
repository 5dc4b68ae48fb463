"""Processes kill themselves before, or halfway through, each call that changes the disk: nothing is lost by it.

`tests/torture/test_kills.py` kills them at moments of chance.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store, draft_path, inspect
from tests.stores import STAMP, original

pytestmark = pytest.mark.slow
DIM = 32
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
                    real(fd, content[: len(content) // 16 * 8], offset)  # an aligned word is written whole
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **named)

        return function

    for name in ("pwrite", "write", "fdatasync", "fsync", "link", "replace", "unlink", "chmod"):
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


def run(children: ForkServerContext, target: Callable[..., None], *args: object) -> int:
    """Run a function in a child to its end, and return how that was."""
    child = children.Process(target=target, args=args)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.parametrize("halfway", [False, True])
def test_an_append_killed_at_any_step_leaves_whole_rows(
    tmp_path: Path, children: ForkServerContext, halfway: bool
) -> None:
    for call in itertools.count():
        path = tmp_path / f"{call}.hdf5"
        create_store(path, capacity=100_000, dim=DIM, stamp=STAMP)
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
        original(path, ORIGINAL_IDS.tolist(), vectors_of(ORIGINAL_IDS), capacity=60, chunks=(20, 5))
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
    create_store(path, capacity=100, dim=DIM, stamp=STAMP)
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
