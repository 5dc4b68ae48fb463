"""Many processes use one store at once: no logo is stored twice or lost, and each sees what others had acknowledged.

A process notes each acknowledgement in memory that all of them share. Another process that reads it there, and then
looks in the store, must find the logo. Nobody is killed before all requests are answered.
"""

from __future__ import annotations

import itertools
import logging
import mmap
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.id_table import WINDOW
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from torture.expectation import STAMP, Expectation, provenance_of, vectors_of
from torture.kill_children import ChildError, Herd, Tell
from torture.kills import clean_processes
from torture.report import HEADER, Finding

DIM = 8
_CONTENDERS = 4
_READERS = 2
_IDS = 40_000  # which all contenders try to store
_BLOCK = 400  # of them are tried by each in its own order, before the next block
_BIG = 10**6  # ids from here on are stored in large batches
_BATCHES = 25
_GONE = 10**9  # ids from here on are stored and deleted
_ROUND_SECONDS = 15.0
_WAIT_SECONDS = 60.0

_STORED = "logos stored by contending processes"
_FOUND = "look-ups right after another process was answered"
_LOOKED = f"looks of readers that never pause, beside batches of {WINDOW:,} rows"
_TAKEN = "snapshots, read meanwhile"


class Crowd:
    """The processes of one round, and their shared memory.

    Args:
        path: the store.
        seed: the source of all random choices.
    """

    def __init__(self, path: Path, seed: str) -> None:
        self.path = path
        self.losses: dict[str, list[str]] = {test: [] for test in (_STORED, _FOUND, _LOOKED, _TAKEN)}
        self._seed = seed
        self._new = _shared(_CONTENDERS, _IDS + 1)  # 1: this contender was told that it stored this logo
        self._there = _shared(_CONTENDERS, _IDS + 1)  # 1: it was told that the logo is stored
        self._latest = _shared(_CONTENDERS + 1)  # the logo of each contender's last answer, then of the last deletion
        self._ended = _shared(_CONTENDERS)
        self._ending = _shared(1)
        self._big = _shared(1)  # number of logos stored in large batches
        self._counts = _shared(3, _CONTENDERS + _READERS)

    def run(self, seconds: float, sabotage: Callable[[], None]) -> dict[str, int]:
        """Let all processes work, and judge the store.

        Args:
            seconds: how long, but at least until every test was tried, unless a process fails.
            sabotage: called first in each process.

        Returns:
            How much was tried of each test.
        """
        with Herd(self.path, sabotage) as herd:
            roles: list[tuple[str, Callable[[Tell], None]]] = [
                *((_FOUND, partial(self.contend, number)) for number in range(_CONTENDERS)),
                *((_FOUND, partial(self.seek, number)) for number in range(_READERS)),
                *((_LOOKED, partial(self.spin, number)) for number in range(_READERS)),
                (_LOOKED, self.store_large_batches),
                (_TAKEN, self.take_snapshots),
                (_FOUND, self.delete),
                (_STORED, self.rewrite),
            ]
            children = [(test, herd.fork(work)) for test, work in roles]
            herd.open_gate()
            end = time.monotonic() + seconds
            self._wait(herd, lambda: time.monotonic() > end and bool(self._counts.any(axis=1).all()))
            self._ending[0] = 1
            self._wait(herd, lambda: bool(self._ended.all()))
            for test, child in children:
                herd.kill(child)
                try:
                    herd.bury()
                except ChildError as error:
                    self.losses[test].append(str(error))
        there = self._there.any(axis=0)
        self.losses[_STORED] += self._judge(set(np.flatnonzero(there).tolist()))
        counts = self._counts.sum(axis=1).tolist()
        return dict(zip((_STORED, _FOUND, _LOOKED, _TAKEN), (int(there.sum()), *counts), strict=True))

    def contend(self, number: int, tell: Tell) -> None:
        """Store logos that others store too, and look for the logos that others stored last."""
        del tell
        chance = random.Random(f"{self._seed} {number}")
        seen = np.zeros(_CONTENDERS + 1, np.int64)
        with EmbeddingStore(self.path) as store:
            for first in range(1, _IDS + 1, _BLOCK):
                ids = chance.sample(range(first, first + _BLOCK), _BLOCK)
                while ids and not self._ending[0]:
                    batch = [ids.pop() for _ in range(min(len(ids), chance.choice([1, 1, 3, 20, 150])))]
                    new = store.append(batch, vectors_of(batch, DIM), provenance_of(batch))
                    self._new[number, new] = self._there[number, batch] = 1
                    self._latest[number] = batch[-1]
                    self._counts[0, number] += self._look_for_the_latest(store, seen)
        self._ended[number] = 1
        signal.pause()

    def seek(self, number: int, tell: Tell) -> None:
        """Look for the logos that others stored last, without ever writing."""
        del tell
        seen = np.zeros(_CONTENDERS + 1, np.int64)
        with EmbeddingStore(self.path, writable=False) as store:
            while True:
                self._counts[0, _CONTENDERS + number] += self._look_for_the_latest(store, seen)

    def delete(self, tell: Tell) -> None:
        """Store logos and delete them."""
        del tell
        with EmbeddingStore(self.path) as store:
            for logo_id in itertools.count(_GONE):
                store.append([logo_id], vectors_of([logo_id], DIM), provenance_of([logo_id]))
                assert store.delete([logo_id]) == [logo_id], f"logo {logo_id} is stored, but not deleted"
                self._latest[-1] = logo_id

    def store_large_batches(self, tell: Tell) -> None:
        """Store batches of the largest size, and wait after each until readers have looked."""
        del tell
        with EmbeddingStore(self.path) as store:
            for batch in range(_BATCHES):
                ids = np.arange(_BIG + batch * WINDOW, _BIG + (batch + 1) * WINDOW)
                assert store.append(ids, vectors_of(ids, DIM), provenance_of(ids)) == ids.tolist()
                self._big[0] += WINDOW
                looks = self._counts[1].sum()
                while self._counts[1].sum() < looks + _READERS:
                    time.sleep(0.001)
        signal.pause()

    def spin(self, number: int, tell: Tell) -> None:
        """Look without a pause; every other reader opens the store again each time."""
        del tell
        store = EmbeddingStore(self.path, writable=False)
        while True:
            before = int(self._big[0])
            ids = store.ids()
            big = np.sort(ids[(ids >= _BIG) & (ids < _GONE)])
            assert np.array_equal(big[:before], np.arange(_BIG, _BIG + before)), "a reader misses logos"
            assert (np.diff(big) > 0).all(), "a reader sees a logo twice"
            self._counts[1, number] += 1
            if number % 2:
                store = EmbeddingStore(self.path, writable=False)

    def take_snapshots(self, tell: Tell) -> None:
        """Take snapshots and read them."""
        del tell
        with EmbeddingStore(self.path, writable=False) as store:
            while True:
                before = [int(self._big[0]), *np.flatnonzero(self._there.any(axis=0)).tolist()]
                snapshot = store.snapshot()
                blocks = [*snapshot.blocks()]
                ids = np.concatenate([np.zeros(0, np.int64), *(block for block, _ in blocks)])
                found = set(ids.tolist())
                assert found.issuperset(range(_BIG, _BIG + before[0])), "a snapshot misses logos of a large batch"
                assert found.issuperset(before[1:]), f"a snapshot misses {sorted(set(before[1:]) - found)}"
                assert len(found) == len(ids) == len(snapshot), "a snapshot has a logo twice, or leaves some out"
                assert all(np.array_equal(embeddings, vectors_of(block, DIM)) for block, embeddings in blocks)
                self._counts[2, 0] += 1

    def rewrite(self, tell: Tell) -> None:
        """Compact the store repeatedly."""
        del tell
        while True:
            rewrite_store(self.path)
            time.sleep(0.05)

    def _look_for_the_latest(self, store: EmbeddingStore, seen: NDArray[np.int64]) -> int:
        """Look for logos that others stored or deleted since the last call; return their number."""
        latest = self._latest.copy()
        new = np.flatnonzero(latest != seen)
        seen[:] = latest
        for writer in new.tolist():
            logo_id = int(latest[writer])
            if writer < _CONTENDERS:
                assert logo_id in store, f"logo {logo_id} is stored, but not found by another process"
            else:
                assert logo_id not in store, f"logo {logo_id} is deleted, but found by another process"
        return len(new)

    def _wait(self, herd: Herd, ready: Callable[[], bool]) -> None:
        limit = time.monotonic() + _ROUND_SECONDS + _WAIT_SECONDS
        while not ready() and not herd.anybody_ended() and time.monotonic() < limit:
            time.sleep(0.01)

    def _judge(self, stored: set[int]) -> list[str]:
        twice = np.flatnonzero(self._new.sum(axis=0) > 1)
        wrong = [f"stored by two processes: {twice.tolist()}"] if len(twice) else []
        by_nobody = stored.difference(np.flatnonzero(self._new.any(axis=0)).tolist())
        wrong += [f"reported as stored, but by nobody: {sorted(by_nobody)}"] if by_nobody else []
        if not self._ended.all():
            wrong.append("a writer was not answered")
        stored.update(range(_BIG, _BIG + int(self._big[0])))
        deleted = set(range(_GONE, int(self._latest[-1]) + 1))
        try:
            return wrong + Expectation(stored, deleted).losses(self.path)
        except StoreError as error:
            return [*wrong, f"the store cannot be read: {error}"]


def contend(
    seconds: float, seed: int, directory: Path | None = None, sabotage: Callable[[], None] = lambda: None
) -> list[Finding]:
    """Let processes contend for some seconds, or until the first loss, in stores below a directory.

    Call this in `clean_processes`.
    """
    logging.disable()
    tried: dict[str, int] = {}
    losses: dict[str, list[str]] = {}
    begun = time.monotonic()
    for number in itertools.count():
        left = begun + seconds - time.monotonic()
        if number and (left < 1 or any(losses.values())):
            break
        with tempfile.TemporaryDirectory(dir=directory) as home:
            path = Path(home, "s.hdf5").resolve()
            create_store(path, capacity=500_000, dim=DIM, stamp=STAMP)
            crowd = Crowd(path, f"{seed} {number}")
            for test, count in crowd.run(min(left, _ROUND_SECONDS), sabotage).items():
                tried[test] = tried.get(test, 0) + count
                losses[test] = losses.get(test, []) + [f"seed {seed}: {loss}" for loss in crowd.losses[test]]
    took = time.monotonic() - begun
    return [Finding("many processes", tried[test], test, losses[test], took) for test in tried]


@click.command()
@click.option("--seconds", type=click.FloatRange(0.1), default=300.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory for the stores.",
)
def processes(seconds: float, seed: int, directory: Path | None) -> None:
    """Let many processes store, delete, read and rewrite at once."""
    with clean_processes() as clean:
        found = clean.submit(contend, seconds, seed, directory).result()
    click.echo("\n".join([HEADER, *(finding.row() for finding in found)]))
    losses = [loss for finding in found for loss in finding.losses]
    click.echo("\n".join(["", *losses]))
    sys.exit(bool(losses))


def _shared(*shape: int) -> NDArray[np.int64]:
    """Return zeros in memory that forked processes share."""
    count = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, 8 * count), np.int64, count).reshape(shape)
