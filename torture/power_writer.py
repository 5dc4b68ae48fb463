"""A recorded writer of a store, which also records its requests and their acknowledgements.

These lie in the record between its calls, and `power_promises.py` adds them up.
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

ACKNOWLEDGEMENTS = "/acks"  # the file, from the root; its content is not part of the disk
ATTRIBUTES = ("type", "value")  # which a writer sets together
DIM = 160  # a row is 640 bytes: a sector may hold parts of two rows, and a row lies in two or three sectors


class KilledError(BaseException):
    """The end of a process: no code of the product catches it, but its locks are released."""


def store_path(root: Path) -> Path:
    """Return the path of a writer's store."""
    return root / "data" / "logos.hdf5"


def backup_path(root: Path) -> Path:
    """Return the path of a writer's backup."""
    return root / "copies" / "backup.hdf5"


def original_path(root: Path) -> Path:
    """Return the path of a second copy of the file that a writer migrates."""
    return root / "copies" / "original.hdf5"


def attribute_of(version: int) -> str | None:
    """Return the value that a writer sets for a version of a logo's attributes; version 0 has none."""
    return f"version {version}" if version else None


def garbage(logo_id: int) -> bytes:
    """Return the bytes by which a writer replaces an embedding to damage it."""
    return Random(logo_id).randbytes(4 * DIM)


class Writer:
    """A writer that uses a store, and records what was acknowledged.

    Args:
        root: the recorded directory.
        chance: the source of its batches.
        batches: how much it writes.
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
        """Record a request or an acknowledgement; "begin" is the first moment of a power cut."""
        os.write(self._acks, json.dumps([what, *ids]).encode())

    def make(self) -> EmbeddingStore:
        """Create a store that is large enough, and open it."""
        prepare_store(self.path, capacity=100 + 24 * self.batches, dim=DIM, stamp=STAMP)
        self.say("made")
        return EmbeddingStore(self.path)

    def new(self, most: int = 40, least: int = 1) -> list[int]:
        """Return the ids of the next batch, between `least` and `most` of them."""
        first = self._last + 1
        self._last += self.chance.randint(least, most)
        return [*range(first, self._last + 1)]

    def append(self, store: EmbeddingStore, ids: Sequence[int]) -> None:
        """Append, and record it."""
        self.say("appending", ids)
        store.append(ids, vectors_of(ids, DIM), provenance_of(ids))
        self.say("appended", ids)

    def replace(self, store: EmbeddingStore, ids: Sequence[int], version: int) -> None:
        """Store a version of logos, in the place of earlier ones, and say so."""
        self.say("replacing", [version, *ids])
        store.append(ids, vectors_of(ids, DIM, version), provenance_of(ids, version), replace=True)
        self.say("replaced", [version, *ids])

    def delete(self, store: EmbeddingStore, ids: Sequence[int]) -> None:
        """Delete, and record it."""
        self.say("deleting", ids)
        store.delete(ids)
        self.say("deleted", ids)

    def back_up(self, progress: Callable[[int], None] = lambda rows: None) -> None:
        """Make or resume the backup, and record it."""
        self.say("backing up")
        backup_store(self.path, self.backup, progress)
        self.say("backed up")

    def once_meanwhile(self, store: EmbeddingStore) -> Callable[[int], None]:
        """Return a `progress` that appends and deletes at its first call, as a service does."""
        first = [True]

        def progress(_: int) -> None:
            if first:
                first.clear()
                with Path(f"{self.path}.lock").open("rb") as lock:  # else the append would wait for ever
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.append(store, self.new(12))
                self.delete(store, store.ids().tolist()[:3])

        return progress


@contextmanager
def killed_before_sync(number: int) -> Iterator[None]:
    """End a writer when its n-th sync of a store file begins, counted from 1."""
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
