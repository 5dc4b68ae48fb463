"""Backups, restores and repairs that are killed, while others write."""

from __future__ import annotations

import os
import random
from functools import partial

import h5py

from embeddings.maintenance.backup import backup_store, restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.store.layout import CRC_BYTES, ID_BYTES
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import inspect
from torture.expectation import Expectation, provenance_of, vectors_of
from torture.kill_children import ASKS, ASKS_APPEND, ASKS_DELETE, DONE, Record, Tell, Work
from torture.kill_writers import DIM, REGION, SHARED_IDS, Stage, repeating

_SAVED_IDS = range(SHARED_IDS + 1, SHARED_IDS + 301)


class BackingUp(Stage):
    """Backups of a store in use, one on top of the other: each holds what was there when it was requested.

    What a backup holds must stay, even if a later run is killed, unless that run may have seen the store without it.
    Between the rounds, when no backup runs, logos are deleted and added again: no run has seen the store without those.
    """

    name = "back up"
    answering = 1 / 3
    span = 0.1
    rows = 1500

    def begin(self) -> None:
        """Create an empty store."""
        super().begin()
        self.target = self.home / "backups" / "b.hdf5"
        self.target.parent.mkdir()
        self._backed = Expectation()
        self._under_way: dict[int, Expectation] = {}  # what each running backup must hold when it is done

    def works(self) -> list[Work]:
        """Return the work of writers, and of children that back up."""
        backing = partial(backup_store, self.path, self.target)
        return self.writing(self.children - 3) + repeating(3, backing)

    def note(self, record: Record) -> None:
        """Note what a child reported, and what follows for the backups."""
        super().note(record)
        if record.what == ASKS:
            self._under_way[record.writer] = self._all_of_store()
            self._backed.stored &= self.expectation.stored
        elif record.what == DONE:
            done = self._under_way.pop(record.writer)
            self._backed.stored |= done.stored
            self._backed.deleted |= done.deleted
        if record.what == ASKS_DELETE and self._under_way:
            for backup in (self._backed, *self._under_way.values()):
                backup.stored.difference_update(record.ids)
        elif record.what == ASKS_APPEND:
            for backup in (self._backed, *self._under_way.values()):
                backup.deleted.difference_update(record.ids)

    def judge(self) -> list[str]:
        """Judge the backup's files, and what is restored from it; the next backup must hold everything."""
        self._under_way.clear()
        partly = self.target.with_name(f"{self.target.name}.partial")
        wrong = Expectation().losses(partly, unfinished=True) if partly.exists() else []
        if self.target.exists():
            wrong += self._backed.losses(self.target, unfinished=True)
            restored = self.target.with_name("restored.hdf5")
            restored.unlink(missing_ok=True)  # a power cut may bring it back
            restore_store(self.target, restored)
            wrong += [f"{loss}, in what is restored" for loss in self._backed.losses(restored)]
            restored.unlink()
        elif self._backed.stored:
            wrong.append("a backup is not there")
        backup_store(self.path, self.target)
        self._backed = self._all_of_store()
        if partly.exists():
            wrong.append("a backup left a partial one behind")
        return wrong + self.expectation.losses(self.target) + super().judge()

    def _all_of_store(self) -> Expectation:
        return Expectation({*self.expectation.stored}, {*self.expectation.deleted})

    def strangers(self, *also: str) -> list[str]:
        """Return the files that nobody should have made."""
        return super().strangers(self.target.parent.name, *also)


class _Saved(Stage):
    """One round on a store that has a backup."""

    rows = -1  # one round
    answering = 1 / 3
    span = 0.1

    def begin(self) -> None:
        """Create a store and a backup of it."""
        super().begin()
        self.backup = self.home / "backups" / "b.hdf5"
        self.backup.parent.mkdir()
        with EmbeddingStore(self.path) as store:
            store.append(_SAVED_IDS, vectors_of(_SAVED_IDS, DIM), provenance_of(_SAVED_IDS))
            store.delete(_SAVED_IDS[:20])
        self.expectation = Expectation(set(_SAVED_IDS[20:]), set(_SAVED_IDS[:20]))
        backup_store(self.path, self.backup)

    def strangers(self, *also: str) -> list[str]:
        """Return the files that nobody should have made."""
        made = [path.name for label in ("replaced", "quarantine") for path in self.home.glob(f"s.{label}*.hdf5")]
        return super().strangers(self.backup.parent.name, f"{self.path.name}.restoring.lock", *made, *also)


class Restoring(_Saved):
    """Restores over a store in use: at every moment the path holds a whole store; the replaced ones are kept."""

    name = "restore"
    children = 6

    def begin(self) -> None:
        """Create a store and a backup of it, and then change the store."""
        super().begin()
        self._saved, self._restored = self.expectation, False
        more = range(REGION - 100, REGION - 50)
        with EmbeddingStore(self.path) as store:
            store.append(more, vectors_of(more, DIM), provenance_of(more))
            store.delete(_SAVED_IDS[20:40])
        self.expectation = Expectation({*_SAVED_IDS[40:], *more}, set(_SAVED_IDS[:40]))
        self._current = Expectation(set(self.expectation.stored), set(self.expectation.deleted))

    def works(self) -> list[Work]:
        """Return the work of writers, and of children that restore."""
        restoring = partial(restore_store, self.backup, self.path, replace=True)
        return self.writing(self.children - 3) + repeating(3, restoring)

    def write_once(self, store: EmbeddingStore, number: int, chance: random.Random, tell: Tell) -> None:
        """Append only new ids: it is unknown which of two stores holds the others."""
        first = self.top(number)
        self.append(store, range(first, first + chance.choice((1, 2, 10, 300))), number, tell)

    def note(self, record: Record) -> None:
        """Note what a child reported."""
        super().note(record)
        self._restored = self._restored or record.what == DONE

    def judge(self) -> list[str]:
        """Judge what is at the path, and then what is restored and what was kept."""
        wrong = self._saved.losses(self.path)
        if wrong and not self._restored:
            wrong = self._current.losses(self.path)
        restore_store(self.backup, self.path, replace=True)
        kept: set[int] = set()
        for path in self.home.glob("s*.hdf5"):
            wrong += Expectation().losses(path)
            with EmbeddingStore(path, writable=False) as store:
                kept.update(store.ids().tolist())
        if lost := self.expectation.stored - kept:
            wrong.append(f"neither restored nor kept: {sorted(lost)}")
        self.expectation = self._saved
        return wrong or super().judge()


class Repairing(_Saved):
    """Repairs of a store in use, some of whose rows are damaged."""

    name = "repair"

    def begin(self) -> None:
        """Create a store and a backup of it, and damage the store."""
        super().begin()
        self._repaired = False
        self._damaged = self.chance.sample(range(len(_SAVED_IDS)), 12)
        layout = inspect(self.path)
        assert layout is not None
        assert layout.offsets is not None
        places = (
            (layout.offsets.ids, ID_BYTES),
            (layout.offsets.checksums, CRC_BYTES),
            (layout.offsets.embeddings, 4 * DIM),
        )
        with self.path.open("r+b", buffering=0) as file:
            for row in self._damaged:
                begin, size = self.chance.choice(places)
                offset = begin + size * row + size - 2
                (byte,) = os.pread(file.fileno(), 1, offset)
                os.pwrite(file.fileno(), bytes([byte ^ 64]), offset)

    def works(self) -> list[Work]:
        """Return the work of writers, and of children that repair."""
        return self.writing(self.children - 4) + repeating(4, partial(repair_store, self.path, self.backup))

    def note(self, record: Record) -> None:
        """Note what a child reported."""
        super().note(record)
        self._repaired = self._repaired or record.what == DONE

    def judge(self) -> list[str]:
        """Judge what was repaired; the next repair must restore all logos, and all damaged rows must be quarantined."""
        wrong = self.expectation.losses(self.path) if self._repaired else []
        repair_store(self.path, self.backup)
        aside: set[int] = set()
        for path in self.home.glob("s.quarantine*.hdf5"):
            with h5py.File(path) as file:
                aside.update(file["row"][:].tolist())
        if not aside.issuperset(self._damaged):
            wrong.append(f"overwritten, but not quarantined: rows {sorted(set(self._damaged) - aside)}")
        return wrong or super().judge()
