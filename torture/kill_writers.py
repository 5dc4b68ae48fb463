"""Writers of every kind on one store, to be killed: they append, delete, grow and compact.

Every writer has its own region of ids, where it appends, repeats and deletes, so that the order of its reports
determines what must be there. In the region that all share, every writer appends, and none deletes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from numpy.random import default_rng

from embeddings.errors import StoreError, StoreFullError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from torture.expectation import STAMP, Expectation, provenance_of, vectors_of
from torture.kill_children import (
    ANSWERS,
    APPENDED,
    ASKS,
    ASKS_APPEND,
    ASKS_DELETE,
    DELETED,
    DONE,
    Child,
    Herd,
    Record,
    Tell,
    Work,
)

DIM = 8
REGION = 10**9  # ids of each writer
_REPEATING = 100  # the first number of children that do not write
_JUDGE = 255  # the number of the judge, which writes once after each round
SHARED_IDS = 1000  # from 1 on
_SIZES, _WEIGHTS = (1, 2, 3, 10, 50, 300, 4096), (60, 15, 10, 8, 4, 2, 0.2)


class Stage:
    """One store, with what must be in it; used for some rounds of kills.

    Args:
        home: an empty directory for this stage alone.
        chance: the source of all random choices.
    """

    name = "append and delete"
    share = 4  # of all kills
    children = 6  # in a round
    answering = 2 / 3  # of the children live to their first answer
    span = 0.02  # seconds that the last of them lives, at first
    capacity = 30_000
    rows = 1500  # requested before a new store is begun
    grows = False

    def __init__(self, home: Path, chance: random.Random) -> None:
        self.home = home
        self.path = home / "s.hdf5"
        self.chance = chance
        self.expectation = Expectation()
        self.answered: set[int] = set()  # the numbers of children with an answer in this round
        self._tops: dict[int, int] = {}  # the next new id of each writer
        self._asked = 0
        self._doomed: dict[int, set[int]] = {}  # stored ids that each writer has requested to delete
        self._deleted: set[int] = set()  # ids that were stored, then deleted, and not added since
        self.begin()

    @property
    def worn(self) -> bool:
        """Whether it is time for a new store."""
        return self._asked > self.rows

    def begin(self) -> None:
        """Create what the children find."""
        create_store(self.path, capacity=self.capacity, dim=DIM, stamp=STAMP)

    def works(self) -> list[Work]:
        """Return what the children of the next round do."""
        return self.writing(self.children)

    def writing(self, children: int) -> list[Work]:
        """Return the work of some writers."""
        return [partial(self.write, number, random.Random(self.chance.random())) for number in range(children)]

    def kill(self, herd: Herd, child: Child, at: float) -> None:
        """Kill a child of the round, at a time of the monotonic clock."""
        time.sleep(max(0, at - time.monotonic()))
        herd.kill(child)

    def listen(self, herd: Herd, seconds: float = 0) -> list[Record]:
        """Note what the children reported, and return it; wait up to `seconds` if there is nothing."""
        told = [*herd.told(seconds)]
        for record in told:
            self.note(record)
        self.answered.update(record.writer for record in told if record.what in ANSWERS)
        return told

    def write(self, number: int, chance: random.Random, tell: Tell) -> None:
        """Append, and sometimes delete, for ever."""
        with EmbeddingStore(self.path) as store:
            while True:
                self.write_once(store, number, chance, tell)

    def write_once(self, store: EmbeddingStore, number: int, chance: random.Random, tell: Tell) -> None:
        """Append or delete some logos, and compare the answer with what this writer knows."""
        first, top = REGION * (number + 1), self.top(number)
        size = chance.choices(_SIZES, _WEIGHTS)[0] if self._asked < self.rows else 1
        what = chance.random()
        try:
            if what < 0.5 or top == first:
                self.append(store, range(top, top + size), number, tell)
            elif what < 0.75:
                self.append(store, _some(range(1, SHARED_IDS), size, chance), number, tell)
            elif what < 0.85:
                self.append(store, _some(range(first, top), size, chance), number, tell)
            else:
                self.delete(store, _some(range(first, top), size, chance), number, tell)
        except StoreFullError:
            if not self.grows:
                raise

    def top(self, number: int) -> int:
        """Return the next new id of a writer."""
        return self._tops.get(number, REGION * (number + 1))

    def append(self, store: EmbeddingStore, ids: range, number: int, tell: Tell) -> None:
        """Append logos in any order."""
        batch = default_rng(ids.start).permutation(ids)
        embeddings = vectors_of(batch, DIM)
        self.tell(Record(ASKS_APPEND, number, ids.start, len(ids)), tell)
        gone, here = self.expectation.deleted.intersection(ids), self.expectation.stored.intersection(ids)
        new = store.append(batch, embeddings, provenance_of(batch.tolist()))
        assert not here.intersection(new), f"stored again: {sorted(here.intersection(new))}"
        assert gone.issubset(new), f"deleted, but not stored again: {sorted(gone.difference(new))}"
        self.tell(Record(APPENDED, number, ids.start, len(ids)), tell)

    def delete(self, store: EmbeddingStore, ids: range, number: int, tell: Tell) -> None:
        """Delete logos."""
        here, gone = self.expectation.stored.intersection(ids), self.expectation.deleted.intersection(ids)
        self.tell(Record(ASKS_DELETE, number, ids.start, len(ids)), tell)
        found = store.delete(ids)
        assert here.issubset(found), f"stored, but not found: {sorted(here.difference(found))}"
        assert not gone.intersection(found), f"deleted twice: {sorted(gone.intersection(found))}"
        self.tell(Record(DELETED, number, ids.start, len(ids)), tell)

    def tell(self, record: Record, tell: Tell) -> None:
        """Report to the judge, and note it as the judge does."""
        tell(record)
        self.note(record)

    def note(self, record: Record) -> None:
        """Note what a child reported."""
        expectation, ids = self.expectation, record.ids
        if record.what == ASKS_APPEND:
            self._asked += record.count
            expectation.deleted.difference_update(ids)
            self._deleted.difference_update(ids)
            if ids.start >= REGION:
                self._tops[record.writer] = max(ids.stop, self.top(record.writer))
        elif record.what == ASKS_DELETE:
            self._doomed[record.writer] = expectation.stored.intersection(ids)
            expectation.stored.difference_update(ids)
        elif record.what == APPENDED:
            expectation.stored.update(ids)
        elif record.what == DELETED:
            expectation.deleted.update(ids)
            self._deleted |= self._doomed[record.writer]

    def judge(self) -> list[str]:
        """Return what is wrong now that all children are dead, and write once."""
        return self.expectation.losses(self.path) or self.write_again()

    def write_again(self) -> list[str]:
        """Append, delete and append again ids that nobody else uses; return what is wrong."""
        ids = range(REGION - 2, REGION)
        with EmbeddingStore(self.path) as store:
            forgotten = self._deleted - store.deleted_among(self._deleted)
            wrong = [f"forgot that logos were deleted: {sorted(forgotten)}"] if forgotten else []
            if store.deleted_among(sorted(self.expectation.stored)[-100:]):
                wrong.append("says that logos were deleted which are stored")
            try:
                self.append(store, ids, _JUDGE, lambda record: None)
                self.delete(store, ids, _JUDGE, lambda record: None)
                self.append(store, ids, _JUDGE, lambda record: None)
            except AssertionError as error:
                wrong.append(f"the next append or deletion does not work: {error}")
        return wrong + self.strangers()

    def strangers(self, *also: str) -> list[str]:
        """Return the files beside the store that nobody should have made."""
        usual = {self.path.name, f"{self.path.name}.lock", f"{self.path.name}.deleted", *also}
        found = sorted({path.name for path in self.path.parent.iterdir()} - usual)
        return [f"strange files: {found}"] if found else []


class Rewriting(Stage):
    """Compaction while others write and delete."""

    name = "compact"
    answering = 1 / 2
    span = 0.1

    def works(self) -> list[Work]:
        """Return the work of writers, and of children that rewrite."""
        return self.writing(self.children - 3) + repeating(3, self.rewrite)

    def rewrite(self) -> None:
        """Move the store into a new file."""
        rewrite_store(self.path, capacity=self.next_capacity())

    def next_capacity(self) -> int | None:
        """Return the capacity to rewrite with."""
        return None

    def judge(self) -> list[str]:
        """Check that the next rewrite works too, and cleans up."""
        if wrong := self.expectation.losses(self.path):
            return wrong
        draft = f"{self.path.name}.rewriting"
        self.rewrite()
        if self.path.with_name(draft).exists():
            return [f"a rewrite left {draft} behind"]
        return super().judge()

    def strangers(self, *also: str) -> list[str]:
        """Return the files beside the store that nobody should have made, such as a copy of damaged rows."""
        draft = f"{self.path.name}.rewriting"
        return super().strangers(draft, f"{draft}.lock", *also)


class Growing(Rewriting):
    """Growth while others write: the store is full again and again."""

    name = "grow"
    capacity = 300
    grows = True

    def rewrite(self) -> None:
        """Move the store into a file with more rows, unless another process has just done so."""
        try:
            super().rewrite()
        except StoreError as error:
            if "too small" not in str(error):
                raise

    def next_capacity(self) -> int | None:
        """Return a little more than the current capacity."""
        with EmbeddingStore(self.path, writable=False) as store:
            return store.capacity + 300


def repeating(children: int, operation: Callable[[], object]) -> list[Work]:
    """Return the work of children that repeat one operation."""

    def repeat(number: int, tell: Tell) -> None:
        while True:
            tell(Record(ASKS, number))
            operation()
            tell(Record(DONE, number))

    return [partial(repeat, _REPEATING + number) for number in range(children)]


def _some(ids: range, most: int, chance: random.Random) -> range:
    """Choose up to `most` adjacent ids."""
    first = chance.choice(ids)
    return ids[first - ids.start : first - ids.start + most]
