"""One who writes to a store while it is recorded, and says what it asks for and what it is told.

These acknowledgements lie in the record between its calls, and `power_promises.py` adds them up.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest import mock

from embeddings.maintenance.backup import backup_store
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from torture.expectation import STAMP, provenance_of, vectors_of

ACKNOWLEDGEMENTS = "/acks"  # the file, from the root; what is written to it is not on the disk
ATTRIBUTES = ("type", "value")  # which a writer sets together
DIM = 160  # a row is 640 bytes: a sector may hold parts of two rows, and a row lies in two or three sectors


class KilledError(BaseException):
    """Stands for the end of a process: no code of the product catches it, but its locks are given back."""


def store_path(root: Path) -> Path:
    """Return where a writer has its store."""
    return root / "data" / "logos.hdf5"


def backup_path(root: Path) -> Path:
    """Return where a writer has its backup."""
    return root / "copies" / "backup.hdf5"


def original_path(root: Path) -> Path:
    """Return where a writer has a second copy of the file that it migrates."""
    return root / "copies" / "original.hdf5"


def attribute_of(version: int) -> str | None:
    """Return the value that a writer sets for a version of a logo's attributes; version 0 has none."""
    return f"version {version}" if version else None


def garbage(logo_id: int) -> bytes:
    """Return what a writer puts in the place of an embedding that it damages."""
    return Random(logo_id).randbytes(4 * DIM)


class Writer:
    """One that does something to a store, and says what it was told.

    Args:
        root: the recorded directory.
        chance: what its batches are drawn from.
        batches: how long it goes on.
    """

    def __init__(self, root: Path, chance: Random, batches: int) -> None:
        self.root = root
        self.path = store_path(root)
        self.backup = backup_path(root)
        self.chance = chance
        self.batches = batches
        self._last = 0
        self._acks = os.open(f"{root}{ACKNOWLEDGEMENTS}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, what: str, ids: Sequence[int] = ()) -> None:
        """Write one acknowledgement, or what is asked for; "begin" is the first moment of a power cut."""
        os.write(self._acks, json.dumps([what, *ids]).encode())

    def make(self) -> EmbeddingStore:
        """Make a store that is large enough, and open it."""
        prepare_store(self.path, capacity=100 + 24 * self.batches, dim=DIM, stamp=STAMP)
        self.say("made")
        return EmbeddingStore(self.path)

    def new(self, most: int = 40, least: int = 1) -> list[int]:
        """Return the ids of the next batch, of which there are from `least` to `most`."""
        first = self._last + 1
        self._last += self.chance.randint(least, most)
        return [*range(first, self._last + 1)]

    def append(self, store: EmbeddingStore, ids: Sequence[int]) -> None:
        """Append, and say so."""
        self.say("appending", ids)
        store.append(ids, vectors_of(ids, DIM), provenance_of(ids))
        self.say("appended", ids)

    def replace(self, store: EmbeddingStore, ids: Sequence[int], version: int) -> None:
        """Store a version of logos, in the place of earlier ones, and say so."""
        self.say("replacing", [version, *ids])
        store.append(ids, vectors_of(ids, DIM, version), provenance_of(ids, version), replace=True)
        self.say("replaced", [version, *ids])

    def delete(self, store: EmbeddingStore, ids: Sequence[int]) -> None:
        """Delete, and say so."""
        self.say("deleting", ids)
        store.delete(ids)
        self.say("deleted", ids)

    def back_up(self, progress: Callable[[int], None] = lambda rows: None) -> None:
        """Make or continue the backup, and say so."""
        self.say("backing up")
        backup_store(self.path, self.backup, progress)
        self.say("backed up")

    def once_meanwhile(self, store: EmbeddingStore) -> Callable[[int], None]:
        """Return a `progress` which, when it is called first, appends and deletes as a service does."""
        first = [True]

        def progress(_: int) -> None:
            if first:
                first.clear()
                with Path(f"{self.path}.lock").open("rb") as lock:  # else appending would wait for ever
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.append(store, self.new(12))
                self.delete(store, store.ids().tolist()[:3])

        return progress


@contextmanager
def killed_before_sync(number: int) -> Iterator[None]:
    """End a writer as its n-th sync of a store file begins, counted from 1."""
    syncs = [StoreFile.sync] * (number - 1)

    def sync(file: StoreFile) -> None:
        if not syncs:
            raise KilledError
        syncs.pop()(file)

    try:
        with mock.patch.object(StoreFile, "sync", sync):
            yield
    except KilledError:
        return
    raise AssertionError(f"there was no sync {number}")
