"""The processes that write while the file system beneath them is cut off: each tells what it was promised.

What they tell leaves by a pipe, as an answer leaves by a socket. After the cut every write fails: they try some times
more, once with the store opened anew, and tell that they were refused.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from embeddings.errors import BackupError, StoreError
from embeddings.maintenance.backup import backup_store
from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import inspect
from torture.expectation import STAMP, provenance_of, vectors_of

DIM = 17  # a row may lie on two pages
CAPACITY = 400_000
SMALL = 1000  # rows of a store that a creator makes
STORE = "s.hdf5"
REFUSALS = 3
SABOTAGE: dict[str, tuple[str, ...]] = {"": (), "no fdatasync": ("fdatasync",), "no sync": ("fdatasync", "fsync")}
_SHOWN = 300  # characters of an error
_SIZES, _WEIGHTS = (1, 2, 10, 100, 700, 4500), (50, 20, 15, 4, 1, 0.1)


class Told(NamedTuple):
    """What a writer tells.

    Attributes:
        what: `asks` before a deletion; then what was done: `added`, `deleted`, `created`, `filled`,
            `rewritten`, `saved`; `refused` if the store would not.
        began, ended: when (`time.monotonic`).
        ids: of logos; the number of the store that was made, or of the backup.
        why: the store's error, if it refused.
    """

    what: str
    began: float
    ended: float
    ids: Sequence[int] = ()
    why: str = ""


Tell = Callable[[str, float, Sequence[int]], None]


def created_path(home: Path, number: int) -> Path:
    """Return where the creator makes a store."""
    return home / f"new-{number}" / STORE


def backup_path(home: Path, number: int) -> Path:
    """Return where a backup lies."""
    return home / f"backup-{number}.hdf5"


class Writer:
    """Does the same thing again and again.

    Args:
        home: a directory of the file system.
        seed: what it does follows from it.
        first: ids from here on are its own, as are numbers of stores and backups.
        old: logos that it alone may delete.
    """

    def __init__(self, home: Path, seed: int, first: int, old: Sequence[int]) -> None:
        self.home = home
        self.path = home / STORE
        self.dice = random.Random(seed)
        self.next = first
        self.own = [*old]

    def step(self, tell: Tell) -> None:
        """Do it once.

        Raises:
            StoreError: the store refuses.
        """
        raise NotImplementedError

    def begin_anew(self) -> None:
        """Forget what is open."""

    def take(self, count: int) -> range:
        """Return ids, or numbers, that nobody used."""
        self.next += count
        return range(self.next - count, self.next)


class Appender(Writer):
    """Appends batches of many sizes, and deletes some of its logos."""

    store: EmbeddingStore | None = None

    def step(self, tell: Tell) -> None:
        """Append or delete."""
        began = time.monotonic()
        if self.store is None:
            self.store = EmbeddingStore(self.path)
        if self.own and self.dice.random() < 0.15:
            gone = self.dice.sample(self.own, min(len(self.own), self.dice.choice([1, 1, 5])))
            self.own = [logo_id for logo_id in self.own if logo_id not in gone]
            tell("asks", began, gone)
            self.store.delete(gone)
            tell("deleted", began, gone)
        else:
            ids = self.take(self.dice.choices(_SIZES, _WEIGHTS)[0])
            new = self.store.append(ids, vectors_of(ids, DIM), provenance_of(ids))
            assert new == [*ids]
            tell("added", began, ids)
            self.own += new[:20]

    def begin_anew(self) -> None:
        """Open the store again the next time."""
        self.store = None


class Rewriter(Writer):
    """Compacts the store, and grows it now and then."""

    def step(self, tell: Tell) -> None:
        """Rewrite it."""
        began = time.monotonic()
        layout = inspect(self.path)
        grow = layout is not None and self.dice.random() < 0.3
        rewrite_store(self.path, capacity=layout.capacity + 1000 if grow and layout else None)
        tell("rewritten", began, ())


class Creator(Writer):
    """Makes stores where none are, each with its directory, and appends a logo to them."""

    def step(self, tell: Tell) -> None:
        """Make one."""
        began = time.monotonic()
        (number,) = self.take(1)
        path = created_path(self.home, number)
        prepare_store(path, capacity=SMALL, dim=DIM, stamp=STAMP)
        tell("created", began, [number])
        with EmbeddingStore(path) as store:
            store.append([number], vectors_of([number], DIM), provenance_of([number]))
        tell("filled", began, [number])


class Saver(Writer):
    """Backs the store up, on top of the last backup until a compaction has moved the rows."""

    number = 0

    def step(self, tell: Tell) -> None:
        """Back it up."""
        began = time.monotonic()
        self.number = self.number or self.take(1)[0]
        try:
            backup_store(self.path, backup_path(self.home, self.number))
        except BackupError:
            self.number = 0
        else:
            tell("saved", began, [self.number])


KINDS: dict[str, type[Writer]] = {"append": Appender, "rewrite": Rewriter, "create": Creator, "save": Saver}


def write(kind: str, home: Path, seed: int, first: int, old: Sequence[int], sabotage: str, pipe: Connection) -> None:
    """Write until the store has refused it some times; exits with a traceback if it fails in any other way."""
    for name in SABOTAGE[sabotage]:
        setattr(os, name, lambda fd: None)

    def tell(what: str, began: float, ids: Sequence[int]) -> None:
        pipe.send(Told(what, began, time.monotonic(), ids))  # far below PIPE_BUF: it is there whole or not

    writer = KINDS[kind](home, seed, first, old)
    refusals = 0
    while refusals < REFUSALS:
        began = time.monotonic()
        try:
            writer.step(tell)
        except StoreError as error:
            refusals += 1
            pipe.send(Told("refused", began, time.monotonic(), why=repr(error)[:_SHOWN]))
            if refusals == REFUSALS - 1:
                writer.begin_anew()
