"""The writers that are recorded, for a power cut at each moment.

`python -m torture.power_writers NAME ROOT SEED BATCHES [MUTANT]` runs one of these.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from random import Random
from unittest import mock

import h5py

from durable import sync_directory
from embeddings.attributes import database
from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.maintenance.backup import restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.store import EmbeddingStore
from torture.expectation import provenance_of, vectors_of
from torture.mutants import RECORDED
from torture.power_writer import ATTRIBUTES, DIM, Writer, attribute_of, garbage, killed_before_sync, original_path

_BLOCK = 16  # rows that a backup and a rewrite copy at a time here, instead of thousands


def create(writer: Writer) -> None:
    """Start a service for the first time."""
    writer.say("begin")
    with writer.make() as store:
        writer.append(store, writer.new(3))


def append(writer: Writer) -> None:
    """Run a service that stores what it is sent."""
    with writer.make() as store:
        writer.say("begin")
        for _ in range(writer.batches):
            writer.append(store, writer.new())


def take_turns(writer: Writer) -> None:
    """Run two services; each is also sent logos that the other stored, or that a third stored before it was killed."""
    with writer.make() as one, EmbeddingStore(writer.path) as other:
        writer.say("begin")
        for turn in range(writer.batches):
            ids = writer.new()
            if turn % 3 == 2:
                with EmbeddingStore(writer.path) as third, killed_before_sync(2):
                    third.append(ids, vectors_of(ids, DIM), provenance_of(ids))
            if turn % 6 == 5:
                writer.say("appended", sorted({*ids} - {*other.missing(ids)}))
            writer.append(one if turn % 2 else other, [*ids, *writer.new(2)])


def delete(writer: Writer) -> None:
    """Delete logos and add some again; kill a service while it deletes; compact the store."""
    with writer.make() as store:
        writer.append(store, writer.new())
        writer.say("begin")
        for _ in range(writer.batches):
            stored = store.ids().tolist()
            gone = writer.chance.sample(stored, writer.chance.randint(1, min(len(stored), 12)))
            writer.delete(store, gone)
            writer.append(store, [*gone[:2], *writer.new(20)])
        gone = store.ids().tolist()[:3]
        writer.say("deleting", gone)
        with EmbeddingStore(writer.path) as doomed, killed_before_sync(1):
            doomed.delete(gone)
        writer.delete(store, gone)
        rewrite_store(writer.path)
        writer.append(store, writer.new(3))


def revise(writer: Writer) -> None:
    """A service replaces logos, and stores some with them; others are killed at that."""
    with writer.make() as store:
        writer.append(store, writer.new(40, least=20))
        writer.say("begin")
        for version in range(1, writer.batches + 1):
            stored = store.ids().tolist()
            ids = [*writer.chance.sample(stored, writer.chance.randint(1, min(len(stored), 12))), *writer.new(2)]
            if version % 3 == 2:
                before_sync = 2 + version % 2  # of the new ids, or of the old rows that go
                with EmbeddingStore(writer.path) as doomed, killed_before_sync(before_sync):
                    writer.replace(doomed, ids, version)
            else:
                writer.replace(store, ids, version)


def rewrite(writer: Writer) -> None:
    """Compact and grow a store while a service writes."""
    with writer.make() as store:
        writer.append(store, writer.new())
        writer.say("begin")
        for turn in range(max(2, writer.batches // 4)):
            writer.append(store, writer.new(20))
            writer.delete(store, store.ids().tolist()[::3])
            capacity = store.capacity + 10 * (turn % 2)
            rewrite_store(writer.path, capacity=capacity, progress=writer.once_meanwhile(store))
            writer.append(store, writer.new(20))


def start_with_original(writer: Writer) -> None:
    """Start a service with a file of the original."""
    _lay_out_original(writer)
    with writer.make() as store:
        writer.append(store, writer.new())


def migrate_original(writer: Writer) -> None:
    """Migrate a file of the original as the operator, before the service starts."""
    _lay_out_original(writer)
    rewrite_store(writer.path, capacity=120)
    with writer.make() as store:
        writer.append(store, writer.new())


def _lay_out_original(writer: Writer) -> None:
    ids = writer.new()
    for path in (writer.path, original_path(writer.root)):
        path.parent.mkdir()
        with h5py.File(path, "w") as hdf5:
            hdf5.create_dataset("embedding", (80, DIM), "f", chunks=(20, 32))[: len(ids)] = vectors_of(ids, DIM)
            hdf5.create_dataset("external_id", (80,), "i", chunks=True)[: len(ids)] = ids
    writer.say("found", ids)
    writer.say("begin")


def back_up(writer: Writer) -> None:
    """Interrupt and resume a first backup, then make others on top of it, while a service writes.

    Before each, logos are deleted, and some are added again.
    """
    writer.backup.parent.mkdir()
    with writer.make() as store:
        writer.append(store, writer.new(60, least=2 * _BLOCK + 1))
        writer.say("begin")
        for syncs in (2, 4):
            with killed_before_sync(syncs):
                writer.back_up()
        for turn in range(max(2, writer.batches // 4)):
            writer.back_up(writer.once_meanwhile(store))
            writer.append(store, writer.new())
            writer.delete(store, gone := store.ids().tolist()[::9])
            writer.append(store, gone[:3])
            if turn % 2 == 0:
                with killed_before_sync(writer.chance.choice((2, 3, 4))):
                    writer.back_up()


def restore(writer: Writer) -> None:
    """Lose a store, and restore it from its backup."""
    writer.backup.parent.mkdir()
    with writer.make() as store:
        writer.append(store, writer.new())
        writer.back_up()
    writer.path.unlink()
    sync_directory(writer.path.parent)
    writer.say("lost")
    writer.say("begin")
    with killed_before_sync(2):
        restore_store(writer.backup, writer.path)
    writer.say("restoring")
    restore_store(writer.backup, writer.path)
    writer.say("restored")
    with writer.make() as store:
        writer.append(store, writer.new())


def replace(writer: Writer) -> None:
    """Replace an existing store by a backup."""
    writer.backup.parent.mkdir()
    with writer.make() as store:
        writer.append(store, writer.new())
        writer.back_up()
        writer.append(store, writer.new())
        writer.say("begin")
        writer.say("restoring")
        restore_store(writer.backup, writer.path, replace=True)
        writer.say("restored")
        writer.append(store, writer.new())


def repair(writer: Writer) -> None:
    """Damage rows, quarantine them, and restore their logos from a backup."""
    writer.backup.parent.mkdir()
    with writer.make() as store:
        writer.append(store, writer.new())
        writer.append(store, [*range(1001, 1031)])
        writer.back_up()
        spoilt = [1003, 1004, 1005, 1020]
        with writer.path.open("rb+") as file:
            content = file.read()
            for logo_id in spoilt:
                file.seek(content.index(vectors_of([logo_id], DIM).tobytes()))
                file.write(garbage(logo_id))
                file.flush()
        writer.say("damaged", spoilt)
        writer.say("begin")
        repair_store(writer.path)
        repair_store(writer.path, writer.backup)
        writer.say("repaired")
        writer.append(store, writer.new())


def set_attributes(writer: Writer) -> None:
    """A service sets attributes and drops some, and is restarted in between."""
    path = attributes_path(writer.path)
    path.parent.mkdir()
    writer.say("begin")
    # What is mapped cannot be recorded. A sole connection needs no memory to share, and writes and syncs as others do.
    with mock.patch.object(database, "_PRAGMAS", ("locking_mode = EXCLUSIVE", *database._PRAGMAS)):
        for first in (1, writer.batches // 2):
            with AttributeStore(path) as store:
                for version in range(first, first + max(1, writer.batches // 2)):
                    ids = writer.chance.sample(range(1, 60), writer.chance.randint(1, 20))
                    if version % 4 == 3:
                        writer.say("dropping", [0, *ids])
                        store.drop(ids)
                        writer.say("dropped", [0, *ids])
                    else:
                        writer.say("setting", [version, *ids])
                        store.merge({logo_id: dict.fromkeys(ATTRIBUTES, attribute_of(version)) for logo_id in ids})
                        writer.say("set", [version, *ids])


WRITERS = (
    *(create, append, take_turns, delete, revise, rewrite, start_with_original, migrate_original),
    *(back_up, restore, replace, repair, set_attributes),
)


def main(name: str, root: str, seed: str, batches: str, mutant: str = "") -> None:
    """Run a writer, on the real store or on a mutant."""
    write = next(write for write in WRITERS if write.__name__ == name)
    writer = Writer(Path(root), Random(int(seed)), int(batches))
    with (
        mock.patch("embeddings.maintenance.backup.WINDOW", _BLOCK),
        mock.patch("embeddings.maintenance.compaction.WINDOW", _BLOCK),
        RECORDED[mutant].applied() if mutant else nullcontext(),
    ):
        write(writer)


if __name__ == "__main__":
    main(*sys.argv[1:])
