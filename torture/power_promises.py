"""What was acknowledged to a writer before a power cut, and what must therefore be on the disk after it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.attributes.copies import faults_of
from embeddings.errors import DamagedRowError
from embeddings.maintenance.backup import backup_store, restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import inspect
from torture.disk_model import SECTOR
from torture.expectation import STAMP, Expectation, provenance_of, vectors_of
from torture.power_writer import ATTRIBUTES, DIM, attribute_of, backup_path, garbage, original_path, store_path

_NEW = [10**6, 10**6 + 1, 10**6 + 2]  # ids that no writer uses


@dataclass(slots=True)
class Promises:
    """The sum of a writer's acknowledgements.

    Attributes:
        made: whether the store exists.
        of_store: what it must hold.
        of_backup: what the backup must hold.
        backed_up: whether the backup exists.
        backing_up: what the running backup must hold when it is acknowledged; None if none runs, or it was stopped.
        appending: ids of the current batch.
        deleting: ids of the current deletion.
        replacing: whether logos are being replaced, or a process was killed doing so and nobody has written since.
        attributes: the possible values of each logo's attribute, `None` for no attribute.
        damaged: ids of rows that the writer has damaged, until they are repaired.
        replaced: ids of the store that the backup replaces.
    """

    made: bool = False
    of_store: Expectation = field(default_factory=Expectation)
    of_backup: Expectation = field(default_factory=Expectation)
    backed_up: bool = False
    backing_up: Expectation | None = None
    appending: list[int] = field(default_factory=list)
    deleting: list[int] = field(default_factory=list)
    replacing: bool = False
    attributes: dict[int, set[str | None]] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)

    def hear(self, acknowledgement: bytes) -> None:
        """Note what `Writer.say` wrote."""
        what, *ids = json.loads(acknowledgement)
        match what:
            case "made":
                self.made = True
            case "appending":
                self.appending = ids
                self.of_store.deleted.difference_update(ids)
            case "appended":
                self.appending = []
                self.of_store.stored.update(ids)
            case "found":
                self.of_store.stored.update(ids)
                self.of_store.bare.update(ids)
            case "deleting":
                self.deleting = ids
                self.of_store.stored.difference_update(ids)
            case "deleted":
                self.deleting = []
                self.of_store.deleted.update(ids)
            case "replacing":
                self.replacing = True
                version, *ids = ids
                for logo_id in ids:
                    self.of_store.versions.setdefault(logo_id, {0}).add(version)
            case "replaced":
                self.replacing = False
                version, *ids = ids
                self.of_store.stored.update(ids)
                self.of_store.versions.update({logo_id: {version} for logo_id in ids})
            case "setting" | "dropping":
                value, *ids = ids
                for logo_id in ids:
                    self.attributes.setdefault(logo_id, {None}).add(attribute_of(value))
            case "set" | "dropped":
                value, *ids = ids
                self.attributes.update({logo_id: {attribute_of(value)} for logo_id in ids})
            case "damaged":
                self.damaged.update(ids)
                self.of_store.stored.difference_update(ids)
            case "repaired":
                self.of_store.stored.update(self.damaged)
                self.damaged = set()
            case "backing up":
                self.of_backup = Expectation(self.of_backup.stored - self.of_store.deleted - {*self.deleting})
                self.backing_up = Expectation({*self.of_store.stored}, {*self.of_store.deleted})
            case "backed up":
                assert self.backing_up is not None
                self.backed_up, self.of_backup, self.backing_up = True, self.backing_up, None
            case "lost":
                self.made, self.of_store = False, Expectation()
            case "restoring":
                self.replaced = {*self.of_store.stored}
                self.of_store = Expectation(self.of_store.stored & self.of_backup.stored)
            case "restored":
                self.made, self.of_store = True, Expectation({*self.of_backup.stored})
            case _:
                assert what == "begin", what


def hear_all(acknowledgements: Sequence[bytes]) -> Promises:
    """Return the promises after these acknowledgements."""
    promises = Promises()
    for acknowledgement in acknowledgements:
        promises.hear(acknowledgement)
    return promises


def store_losses(root: Path, promises: Promises) -> list[str]:
    """Judge the store, finish interrupted operations, add other logos, and judge it again."""
    path = store_path(root)
    if not promises.made:
        prepare_store(path, capacity=100, dim=DIM, stamp=STAMP)
    expected = promises.of_store
    losses = expected.losses(path, unfinished=promises.replacing)
    with EmbeddingStore(path) as store:
        forgotten = expected.deleted - store.deleted_among(expected.deleted)
        losses += [f"forgot that these were deleted: {sorted(forgotten)}"] if forgotten else []
        added = [*_NEW, *promises.appending]
        store.append(added, vectors_of(added, DIM), provenance_of(added))
        store.delete(promises.deleting)
    expected.stored |= {*added}
    expected.deleted |= {*promises.deleting}
    return losses + [f"{loss}, after the next append" for loss in expected.losses(path)]


def losses_of_rewritten(root: Path, promises: Promises) -> list[str]:
    """Judge a store that was compacted; compacting it again must work."""
    losses = store_losses(root, promises)
    rewrite_store(store_path(root))
    return losses + [f"{loss}, after the next compaction" for loss in promises.of_store.losses(store_path(root))]


def losses_of_migration(root: Path, promises: Promises) -> list[str]:
    """Judge a migrated store: the original must be in its place, or beside it."""
    layout = inspect(store_path(root))
    kept = store_path(root) if layout and layout.offsets is None else store_path(root).with_stem("logos.original")
    whole = kept.exists() and kept.read_bytes() == original_path(root).read_bytes()
    return ([] if whole else ["lost the original file"]) + store_losses(root, promises)


def losses_of_backup(root: Path, promises: Promises) -> list[str]:
    """Judge a backup, what is restored from it, and its store; the next backup must hold everything."""
    losses = _backup_losses(root, promises)
    if backup_path(root).exists():
        restore_store(backup_path(root), restored := root / "restored.hdf5")
        losses += [f"{loss}, in what is restored from the backup" for loss in promises.of_backup.losses(restored)]
    losses += store_losses(root, promises)
    backup_store(store_path(root), backup_path(root))
    return losses + [f"{loss}, in the next backup" for loss in promises.of_store.losses(backup_path(root))]


def losses_of_restored(root: Path, promises: Promises) -> list[str]:
    """Judge a restored store; its backup must be unchanged, and the store that it replaced must be beside it."""
    losses = _backup_losses(root, promises)
    found: set[int] = set()
    for path in [*store_path(root).parent.glob("logos.replaced*.hdf5"), store_path(root)]:
        if path.exists():
            with EmbeddingStore(path) as store:
                found.update(store.ids().tolist())
    lost = promises.replaced - found
    losses += [f"lost with the replaced store: {sorted(lost)}"] if lost else []
    losses += store_losses(root, promises)
    restore_store(backup_path(root), store_path(root), replace=True)
    return losses + [f"{loss}, after the next restore" for loss in promises.of_backup.losses(store_path(root))]


def losses_of_repaired(root: Path, promises: Promises) -> list[str]:
    """Judge a store with rows that are damaged or quarantined; the next repair must restore them."""
    path = store_path(root)
    losses = _backup_losses(root, promises)
    files = [file.read_bytes() for file in path.parent.glob("logos*.hdf5")]
    for logo_id in promises.damaged:
        if not any(garbage(logo_id) in content for content in files):
            losses.append(f"lost the bytes of the damaged row of logo {logo_id}")
    losses += served_losses(root, promises)
    if promises.damaged:
        repair_store(path, backup_path(root))
        promises.hear(b'["repaired"]')
    return losses + store_losses(root, promises)


def losses_of_attributes(root: Path, promises: Promises) -> list[str]:
    """Judge attributes, and set some more."""
    with AttributeStore(attributes_path(store_path(root))) as store:
        losses = faults_of(store.database)
        for step in ("", ", after the next change"):
            held = dict(store.items())
            for logo_id, due in promises.attributes.items():
                of_logo = held.pop(logo_id, {})
                found = {of_logo.get(key) for key in ATTRIBUTES}
                if len(found) > 1 or found - due:
                    losses.append(f"logo {logo_id} has the attributes {of_logo}, not one of {due}{step}")
            losses += [f"attributes that nobody set: {held}"] if {*held} - {*_NEW} else []
            store.merge({logo_id: {"k": "x"} for logo_id in _NEW})
    return losses


def served_losses(root: Path, promises: Promises) -> list[str]:
    """Judge a store with damaged rows: they must be errors, the others must be served, and appends must work."""
    path = store_path(root)
    losses: list[str] = []
    with EmbeddingStore(path) as store:
        for step in ("", ", after the next append"):
            found: set[int] = set()
            for ids, embeddings in store.snapshot().blocks():
                found.update(ids.tolist())
                wrong = (embeddings != vectors_of(ids, DIM)).any(axis=1)
                losses += [f"served a wrong embedding of logo {logo_id}{step}" for logo_id in ids[wrong].tolist()]
            lost, back = promises.of_store.stored - found, promises.of_store.deleted & found
            losses += [f"lost {sorted(lost)}{step}"] if lost else []
            losses += [f"deleted, and back again: {sorted(back)}{step}"] if back else []
            for logo_id in promises.damaged:
                try:
                    if logo_id in store and (store.get(logo_id) != vectors_of([logo_id], DIM)).any():
                        losses.append(f"served a wrong embedding of logo {logo_id}{step}")
                except DamagedRowError:
                    pass
            store.append(_NEW, vectors_of(_NEW, DIM), provenance_of(_NEW))
    return losses


def spoil_sector(content: bytes, ids: Sequence[int], chance: Random) -> tuple[bytes, set[int]]:
    """Turn one sector of a store's embeddings into garbage.

    Args:
        content: the file.
        ids: logos that may be stored in it; at least one is.
        chance: chooses the sector, in the embedding of one of these.

    Returns:
        The new file, and the logos that have lost a part of their embedding.
    """
    rows = {embedding.tobytes(): logo_id for embedding, logo_id in zip(vectors_of(ids, DIM), ids, strict=True)}
    size = 4 * DIM
    place = -1
    while place < 0:
        place = content.find(vectors_of([chance.choice(ids)], DIM).tobytes())
    first = (place + chance.randrange(size)) // SECTOR * SECTOR
    touched = [content[row : row + size] for row in range(first - (first - place) % size, first + SECTOR, size)]
    spoilt = content[:first] + chance.randbytes(SECTOR) + content[first + SECTOR :]
    return spoilt, {rows[row] for row in touched if row in rows}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A writer, and its judge.

    Attributes:
        test: what is cut, for the table.
        writer: the name of the recorded function in `power_writers.py`.
        losses: returns what was lost, given the root of a disk after the power cut, and the promises.
        rots: whether also to damage one sector of a stored embedding after the power cut.
    """

    test: str
    writer: str
    losses: Callable[[Path, Promises], list[str]]
    rots: bool = False


SCENARIOS = (
    Scenario("while a store is made", "create", store_losses),
    Scenario("while a service starts with a file of the original", "start_with_original", losses_of_migration),
    Scenario("while a file of the original is migrated", "migrate_original", losses_of_migration),
    Scenario("while a store is restored", "restore", losses_of_restored),
    Scenario("while a backup replaces a store", "replace", losses_of_restored),
    Scenario("while damaged rows are repaired", "repair", losses_of_repaired),
    Scenario("while a store in use is backed up", "back_up", losses_of_backup),
    Scenario("while a store in use is compacted and grown", "rewrite", losses_of_rewritten, rots=True),
    Scenario("while logos are deleted and added again", "delete", losses_of_rewritten, rots=True),
    Scenario("while logos are replaced", "revise", losses_of_rewritten),
    Scenario("while attributes are set and dropped", "set_attributes", losses_of_attributes),
    Scenario("while two services append", "take_turns", store_losses, rots=True),
    Scenario("while a service appends", "append", store_losses, rots=True),
)


def _backup_losses(root: Path, promises: Promises) -> list[str]:
    """Judge the backup: it must exist if one was acknowledged, and be whole if it exists."""
    if not promises.backed_up and not backup_path(root).exists():
        return []
    losses = promises.of_backup.losses(backup_path(root), unfinished=promises.backing_up is not None)
    return [f"{loss}, in the backup" for loss in losses]
