"""What the writers on one file system were promised, and whether what is found on it keeps that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embeddings.errors import StoreError
from embeddings.maintenance.backup import backup_store
from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store.store import EmbeddingStore
from torture.expectation import STAMP, Expectation, provenance_of, vectors_of
from torture.ext4_writers import DIM, SMALL, STORE, Told, backup_path, created_path


@dataclass
class Promises:
    """What counts: it was told before the cut began.

    Attributes:
        expectation: of the store that all share.
        since: when a logo was acknowledged as stored or deleted; missing for those of earlier rounds.
        created: the stores made by this round's creators, and whether their logo was acknowledged.
        saved: this round's backups, and when the last acknowledged run began.
        refusals: errors of this round.
        told: how often what was told.
    """

    expectation: Expectation = field(default_factory=Expectation)
    since: dict[int, float] = field(default_factory=dict)
    created: dict[int, bool] = field(default_factory=dict)
    saved: dict[int, float] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def new_round(self) -> None:
        """Forget when it happened, and the stores and backups that nobody will touch again."""
        self.since, self.created, self.saved = {}, {}, {}
        self.refusals = []

    def take(self, told: Told) -> None:
        """Take in what a writer told."""
        if told.what == "refused":
            self.refusals.append(told.why)
            return
        self.told[told.what] += 1
        if told.what == "added":
            self.expectation.stored.update(told.ids)
            self.since.update(dict.fromkeys(told.ids, told.ended))
        elif told.what == "asks":
            self.expectation.stored.difference_update(told.ids)
        elif told.what == "deleted":
            self.expectation.deleted.update(told.ids)
            self.since.update(dict.fromkeys(told.ids, told.ended))
        elif told.what in ("created", "filled"):
            self.created[told.ids[0]] = told.what == "filled"
        elif told.what == "saved":
            self.saved[told.ids[0]] = told.began

    def losses(self, home: Path) -> list[str]:
        """Hold the stores and the backups of a directory against what was promised."""
        wrong = _losses(self.expectation, home / STORE)
        for number, filled in self.created.items():
            kept = _losses(Expectation({number} if filled else set()), created_path(home, number))
            wrong += [f"store {number}: {what}" for what in kept]
        for number, began in self.saved.items():
            due, gone = (
                {logo_id for logo_id in ids if self.since.get(logo_id, 0) < began}
                for ids in (self.expectation.stored, self.expectation.deleted)
            )
            wrong += [f"backup {number}: {what}" for what in _losses(Expectation(due, gone), backup_path(home, number))]
        return wrong

    def after_going_on(self, home: Path, ids: Sequence[int]) -> list[str]:
        """Do what the next start would: append, and end what was begun; return what is wrong then."""
        for directory in home.glob("new-*"):
            prepare_store(directory / STORE, capacity=SMALL, dim=DIM, stamp=STAMP)
        after = Expectation(self.expectation.stored | {*ids}, self.expectation.deleted)
        wrong = []
        with EmbeddingStore(home / STORE) as store:
            new = store.append(ids, vectors_of(ids, DIM), provenance_of(ids))
            if new != [*ids] or store.missing(ids):
                wrong.append(f"the next append stored {new}, not {[*ids]}, and lacks {store.missing(ids)}")
        if any(home.glob(f"{STORE}.*ing")):
            rewrite_store(home / STORE)
            wrong += [f"after the next rewrite: {what}" for what in _losses(after, home / STORE)]
        for partial in home.glob("backup-*.partial"):
            backup_store(home / STORE, partial.with_suffix(""))
            wrong += [f"the backup, ended: {what}" for what in _losses(after, partial.with_suffix(""))]
        return wrong


def _losses(expectation: Expectation, path: Path) -> list[str]:
    try:
        return expectation.losses(path)
    except StoreError as error:
        return [f"lost as a whole: {error}"]
