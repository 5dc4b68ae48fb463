"""Writers that also replace logos, to be killed: a logo has its old embedding or the new one, whole, and once.

Each writer numbers what it replaces with. Its judge hears of every attempt before it is made, so both count alike.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from embeddings.store.store import EmbeddingStore
from torture.expectation import provenance_of, vectors_of
from torture.kill_children import ASKS_APPEND, ASKS_REPLACE, DELETED, REPLACED, Record, Tell
from torture.kill_writers import DIM, REGION, Stage

_MOST = 40  # logos that are replaced at once


class Replacing(Stage):
    """Replacement while others append and delete."""

    name = "replace"
    share = 2

    def __init__(self, home: Path, chance: random.Random) -> None:
        self._version: Counter[int] = Counter()  # of the last attempt of each writer
        super().__init__(home, chance)

    def write_once(self, store: EmbeddingStore, number: int, chance: random.Random, tell: Tell) -> None:
        """Replace some logos, or do what any writer does."""
        first, top = REGION * (number + 1), self.top(number)
        if top == first or chance.random() < 0.5:
            super().write_once(store, number, chance, tell)
            return
        begin = chance.randrange(first, top)
        ids = range(begin, min(top, begin + chance.randint(1, _MOST)))
        self.tell(Record(ASKS_REPLACE, number, ids.start, len(ids)), tell)
        version = self._version[number]
        gone, here = self.expectation.deleted.intersection(ids), self.expectation.stored.intersection(ids)
        new = store.append(ids, vectors_of(ids, DIM, version), provenance_of(ids, version), replace=True)
        assert not here.intersection(new), f"stored, but not found: {sorted(here.intersection(new))}"
        assert gone.issubset(new), f"deleted, but replaced: {sorted(gone.difference(new))}"
        self.tell(Record(REPLACED, number, ids.start, len(ids)), tell)

    def note(self, record: Record) -> None:
        """Take in what a child told."""
        versions, ids = self.expectation.versions, record.ids
        if record.what == ASKS_REPLACE:
            self._version[record.writer] += 1
            self._asked += record.count
            self.expectation.deleted.difference_update(ids)
            self._deleted.difference_update(ids)
            for logo_id in ids:
                versions.setdefault(logo_id, {0}).add(self._version[record.writer])
        elif record.what == REPLACED:
            versions.update({logo_id: {self._version[record.writer]} for logo_id in ids})
            self.expectation.stored.update(ids)
        elif record.what == DELETED:
            versions.update({logo_id: set() for logo_id in versions.keys() & {*ids}})
        elif record.what == ASKS_APPEND:
            for logo_id in versions.keys() & {*ids} - self.expectation.stored:  # it may be gone, and come again
                versions[logo_id].add(0)
        super().note(record)

    def judge(self) -> list[str]:
        """Return what is wrong now; a process may have been killed before the old rows went. Then write once."""
        losses = self.expectation.losses(self.path, unfinished=True) or self.write_again()
        return losses or self.expectation.losses(self.path)
