"""The embedding store: what it has acknowledged survives a killed process, a kernel crash and a power cut.

Any number of processes, with any number of threads, read and append to one file (`layout.py` says how its bytes lie).
One rule holds it together: **a row exists if, and only if, its id slot is not zero.** The slot is written last, so
there is no journal, and nothing to repair when a crashed service starts again.

Appending, step by step
    1.  Take the writer's lock: a `flock` on the side file `<path>.lock`. The kernel drops it when its holder dies.
    2.  Look for rows that others appended. Ids that are there already are left out, but not before a sync: to say
        "it is stored" promises as much as having stored it.
    3.  Write embeddings, checksums and provenance into the rows after the last used one. Their id slots are zero: for
        every reader, and after a crash, these rows are empty, and the next writer uses them again.
    4.  `fdatasync`. Without it the disk could hold the ids of the next step before the content they stand for.
    5.  Write the ids. Each is one aligned word, which a disk writes whole or not at all. A crash here keeps some ids
        of the batch and loses others: rows that were never acknowledged, each of them whole or absent. A slot that
        stayed zero between used ones is never used again.
    6.  `fdatasync`. Only now answer.

Provenance, the image that a logo is cut from, takes part in step 3 only: it is as durable as the row, and has its own
checksum. A row whose provenance is damaged is a good row without one. Stores laid out before it was kept have none.

Deleting notes the ids in a file for those who answer from an index (`deletions.py`), negates the slots, syncs, and
never frees the rows: a slot that is not zero is never given to another logo. So no logo is in two rows, but in a backup
whose last run was stopped (`backup.py`). There the later whole row holds, and a writer first negates the other.

After a failed sync nobody knows what the disk holds, and the kernel forgets that its cache holds something else. So
the ids just written are negated (others would read them from the cache and acknowledge them), and this store refuses
to write until it is opened again. Any other error leaves rows that are whole or empty; a later append may succeed.

Reading takes no lock
    A batch is at most `WINDOW` rows and begins after the last used row, so a look at the `WINDOW` slots after the last
    known row never misses one. While a batch is being written, a reader may see a later id of it before an earlier
    one. So a row whose slot is zero, or whose checksum disagrees, is *pending*: it is looked at again each time, until
    a later batch, or holding the lock, shows that nobody can still be writing it.

Growing and compacting (`rewrite.py`) put another file at the same path. Each call looks whether the file it knows
still has the name; snapshots keep the old one. A writer syncs the directory when it opens a file, because the one who
put it there may have been killed before doing so.

All this holds on a local Linux file system whose disk does what a sync asks. Open a store after forking, not before.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import DamagedRowError, StoreFullError, StoreModelError, StoreUnavailableError
from embeddings.store.batch import Batch, checked_batch
from embeddings.store.changes import Changes, StoreMark
from embeddings.store.commit import commit, finish_deletions
from embeddings.store.damaged_rows import DamagedRow, DamageLog, damaged_rows
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import WINDOW, KnownRows
from embeddings.store.layout import ModelStamp, storage_errors, sync_directory
from embeddings.store.live_count import LiveCount
from embeddings.store.provenance import Provenance, provenance_in
from embeddings.store.seen_rows import SeenRows
from embeddings.store.snapshot import Snapshot
from embeddings.store.store_file import StoreFile
from embeddings.store.stored_vectors import StoredVectors
from embeddings.store.writer_lock import writer_lock

log = logging.getLogger(__name__)

_DRAWS = 100  # of rows, before a store of deleted logos counts as empty


class EmbeddingStore:
    """The logos in one store file: their ids and embeddings. Threads may share it.

    Args:
        path: the file, made by `prepare_store`.
        writable: whether `append` and `delete` are wanted.
        wait_seconds: how long a thread that wants to write waits for the others of its process. (One of them waits for
            other processes as long as it takes: milliseconds, but minutes for a rewrite.)

    Raises:
        StoreLayoutError: the file is no store, or has the layout of the original service.
        StoreUnavailableError: it is missing, may not be opened, or another program has it open for writing.
    """

    def __init__(self, path: Path, *, writable: bool = True, wait_seconds: float = 10.0) -> None:
        self.path = path.resolve()
        self._writable = writable
        self._wait_seconds = wait_seconds
        self._turn = threading.Lock()  # of this process's writers, for the lock of all processes
        self._mutex = threading.Lock()  # of what this process knows of the file
        self._deletions = DeletionLog(self.path)
        self._damaged = DamageLog(log, "Damaged rows of %s are left out of answers, of logos %s: see `verify`")
        self._torn = DamageLog(log, "Damaged provenance in %s is left out of answers, of logos %s: see `verify`")
        self._count = LiveCount(self.path, self._deletions)
        self._open: KnownRows | None = KnownRows(self._open_file())
        self._settle(self._open)

    @property
    def capacity(self) -> int:
        """How many rows the file has."""
        return self._known().file.capacity

    @property
    def dim(self) -> int:
        """The length of an embedding."""
        return self._known().file.dim

    @property
    def stamp(self) -> ModelStamp:
        """Which model made the embeddings."""
        return self._known().file.stamp

    @property
    def keeps_provenance(self) -> bool:
        """Whether the file has room for it; one laid out before it was kept has not, until it is rewritten."""
        return self._known().file.keeps_provenance

    def __len__(self) -> int:
        return self._count.count(self.seen)

    def __contains__(self, logo_id: int) -> bool:
        return self._find(logo_id)[1] is not None

    def get(self, logo_id: int) -> NDArray[np.float32]:
        """Return the embedding of a logo: (dim,), read-only.

        Raises:
            KeyError: it is not stored.
            DamagedRowError: its row disagrees with its checksum.
        """
        known, row = self._find(logo_id)
        if row is None:
            raise KeyError(logo_id)
        embedding = known.file.embedding(row, logo_id)
        if embedding is None:
            raise DamagedRowError(
                f"the embedding of logo {logo_id} (row {row} of {self.path}) cannot be read, or disagrees with its "
                "checksum: `manage.py repair` puts it aside, or takes it from a backup"
            )
        return embedding

    @property
    def vectors(self) -> StoredVectors:
        """What returns the embeddings of logos, (n, dim), by their ids, (n,)."""
        return StoredVectors(self._find_all, lambda ids: self._damaged.tell(self.path, ids))

    def provenance(self, logo_ids: Sequence[int]) -> dict[int, Provenance]:
        """Return where those of the logos come from that are stored and whose provenance is kept, in their order.

        Damaged provenance is none; it is logged, once.
        """
        known, rows = self._find_each(logo_ids)
        ids = np.array([*rows], np.int64)
        records, damaged = known.file.records_at([*rows.values()], ids)
        self._torn.tell(self.path, ids[damaged].tolist())
        found = zip(rows, provenance_in(records), strict=True)
        return {logo_id: origin for logo_id, origin in found if origin is not None}

    def any_id(self) -> int | None:
        """Return the id of a logo drawn at random; None if that finds none in a few rows."""
        seen = self.seen()
        for _ in range(_DRAWS if seen.end else 0):
            slot = int(seen.slots(row := secrets.randbelow(seen.end), row + 1)[0])
            if slot > 0:
                return slot
        return None

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all logos, (n,), in the order they were stored."""
        return self.seen().ids()

    def seen(self) -> SeenRows:
        """Look at the file, and return which rows it has now."""
        return self._look()[1]

    def missing(self, logo_ids: Sequence[int]) -> list[int]:
        """Return those of the ids that are not stored, in order, each once. The others are safely on the disk."""
        known, rows = self._find_each(logo_ids)
        if rows:
            with self._mutex:
                known.make_durable()
        return [logo_id for logo_id in dict.fromkeys(logo_ids) if logo_id not in rows]

    def append(
        self,
        logo_ids: Sequence[int] | NDArray[np.int64],
        embeddings: NDArray[np.float32],
        provenance: Sequence[Provenance | None] | None = None,
    ) -> list[int]:
        """Store embeddings, (n, dim) float32, and return the ids that are new, once all are safely on the disk.

        Ids stored before, and repetitions of an id, are left out. More than `WINDOW` rows are stored one batch after
        the other; when one fails, those before it stay.

        Args:
            logo_ids: n ids.
            embeddings: (n, dim)
            provenance: n of them, None for one that is not known. An address that is too long for the file, or any in
                a file without room for it, is not kept.

        Raises:
            ValueError: an id is no positive 64-bit integer, or an embedding has another length or is not finite.
            StoreFullError: a batch does not fit into the file or on the disk.
            StoreUnavailableError: it could not be written.
        """
        batch = checked_batch(logo_ids, embeddings, self.dim, provenance)
        new: list[int] = []
        for first in range(0, len(batch.ids), WINDOW):
            new += self._append_batch(batch.at(range(first, min(first + WINDOW, len(batch.ids)))))
        return new

    def delete(self, logo_ids: Sequence[int]) -> list[int]:
        """Forget logos, and return those that were stored, in order, each once. All are safely forgotten by then.

        Their rows stay taken until the store is compacted.

        Raises:
            StoreFullError, StoreUnavailableError: it could not be written; some may be forgotten.
        """
        with self._writing() as (known, check):
            rows = {logo_id: row for logo_id in logo_ids if (row := known.find(logo_id)) is not None}
            if rows:
                check()
                self._deletions.write(rows)
                commit(known.file, {row: np.array([-logo_id]) for logo_id, row in rows.items()})
            if len(rows) < len(logo_ids):  # "it is not there" is a promise, too
                known.file.sync()
        return list(rows)

    def deleted_among(self, logo_ids: Collection[int]) -> set[int]:
        """Return those of the ids whose logos were deleted and not added again, by whatever process."""
        known = self._open  # the file of the last look will do: what it misses is in the log
        candidates = self._deletions.among(logo_ids)
        if known is not None:
            candidates |= known.deleted.intersection(logo_ids)
        return {logo_id for logo_id in candidates if logo_id not in self}

    def ever_deleted(self) -> set[int]:
        """Return the ids of all logos that were ever deleted, by whatever process, those added again among them."""
        return self._deletions.ids()

    def since(self, moment: object) -> Changes:
        """Return what was stored and deleted since the moment that `StoreMark.as_json` told, or ever, if it is none."""
        mark = StoreMark.of_json(moment)
        changes = self._since(mark)
        if changes.readded:  # or just being deleted: the log names a logo before its row goes
            with suppress(StoreUnavailableError), writer_lock(self.path):
                changes = self._since(mark)
        return changes

    def count_since(self, moment: object) -> int:
        """Return how many logos were stored since a moment, as `since` takes it; it waits for no writer."""
        mark, seen = StoreMark.of_json(moment), self.seen()
        first = mark.row if mark is not None and mark.is_of(seen) else 0
        return seen.count(first, StoreMark.at(seen, 0, 0).row)

    def mark(self) -> StoreMark:
        """Return this moment, for `since`: one when no logo is half deleted, in the log, and its row still there."""
        with suppress(StoreUnavailableError), writer_lock(self.path):
            return self._mark()
        return self._mark()

    def mark_at(self, mark: StoreMark, row: int) -> StoreMark:
        """Return a moment that had no more than the rows before one, but the deletions of another moment."""
        return mark.at_row(self.seen(), row)

    def snapshot(self) -> Snapshot:
        """Return what is stored now, once it is safely on the disk."""
        file, slots = self.settled()
        rows = np.flatnonzero(slots > 0)
        return Snapshot(file, rows, slots[rows])

    def settled(self) -> tuple[StoreFile, NDArray[np.int64]]:
        """Return the open file and the id slots of its rows, (rows,), of deleted ones too, once all are on the disk.

        The slots of rows that are being written right now are 0.
        """
        known, seen = self._look()
        if known.pending:
            self._settle(known)
            known, seen = self._look()
        slots = seen.slots(0, seen.end)
        with self._mutex:
            known.make_durable()
        return known.file, slots

    def verify(self, progress: Callable[[int], None] = lambda rows: None) -> Iterator[DamagedRow]:
        """Read every used row, deleted ones too, and yield those that are damaged."""
        return damaged_rows(self.seen(), progress)

    def close(self) -> None:
        """Let go of the file; snapshots keep theirs."""
        with self._mutex:
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _mark(self) -> StoreMark:
        log, log_size, _ = self._deletions.since((0, 0))
        return StoreMark.at(self.seen(), log, log_size)

    def _since(self, mark: StoreMark | None) -> Changes:
        log, log_size, named = self._deletions.since((mark.log, mark.log_size) if mark else (0, 0))
        seen = self.seen()
        complete = mark is None or not mark.is_of(seen)
        if complete:
            log, log_size, named = self._deletions.since((0, 0))
        now = StoreMark.at(seen, log, log_size)
        slots = seen.slots(0 if mark is None or complete else mark.row, now.row)
        gone = {logo_id for logo_id in named if logo_id not in self}
        return Changes(now, slots[slots > 0], sorted(gone), sorted(named - gone), complete)

    def _known(self) -> KnownRows:
        """Return what is known of the file that has the name now; of the last one, if the name is gone."""
        known = self._open
        if known is not None and known.file.is_at(self.path, or_gone=True):
            return known
        with self._mutex:
            known = self._open
            if known is None:
                raise StoreUnavailableError(f"{self.path} has been closed")
            if not known.file.is_at(self.path, or_gone=True):
                file = self._open_file()
                if (file.dim, file.stamp) != (known.file.dim, known.file.stamp):
                    raise StoreModelError(f"{self.path} was replaced by a store of another model: restart the service")
                log.info("%s was replaced: reading the new file", self.path)
                self._open = known = KnownRows(file)
            return known

    def _open_file(self) -> StoreFile:
        file = StoreFile(self.path, writable=self._writable)
        if self._writable:
            with storage_errors(f"sync {self.path.parent}"):
                sync_directory(self.path.parent)
        return file

    def _settle(self, known: KnownRows) -> None:
        """Wait for whoever may be writing the pending rows: those that still disagree then are damaged."""
        if known.pending:
            with suppress(StoreUnavailableError), writer_lock(self.path), self._mutex:
                known.look(alone=True)

    def _find(self, logo_id: int) -> tuple[KnownRows, int | None]:
        known = self._known()
        row = known.find(logo_id)
        if row is None:
            with self._mutex:
                known.look()
            row = known.find(logo_id)
        return known, row

    def _find_each(self, logo_ids: Sequence[int]) -> tuple[KnownRows, dict[int, int]]:
        """Return the rows of those of the logos that are stored, by their ids, in order."""
        known = self._known()
        rows = {logo_id: known.find(logo_id) for logo_id in logo_ids}
        if None in rows.values():
            with self._mutex:
                known.look()
            rows |= {logo_id: known.find(logo_id) for logo_id, row in rows.items() if row is None}
        return known, {logo_id: row for logo_id, row in rows.items() if row is not None}

    def _find_all(self, logo_ids: NDArray[np.int64]) -> tuple[StoreFile, NDArray[np.int64]]:
        """Return the open file and the rows of logos, (n,); -1 for one that is not stored."""
        known = self._known()
        rows = known.find_all(logo_ids)
        if (rows < 0).any():
            with self._mutex:
                known.look()
            rows = known.find_all(logo_ids)
        return known.file, rows

    def _look(self) -> tuple[KnownRows, SeenRows]:
        known = self._known()
        with self._mutex:
            known.look()
            return known, known.seen()

    def _append_batch(self, batch: Batch) -> list[int]:
        with self._writing() as (known, check):
            places = [place for place, logo_id in enumerate(batch.ids) if known.find(logo_id) is None]
            if not places:
                with self._mutex:
                    known.make_durable()
                return []
            batch = batch if len(places) == len(batch.ids) else batch.at(places)
            file, row = known.file, known.end
            if len(places) > file.capacity - row:
                raise StoreFullError(
                    f"{self.path} has {file.capacity} rows, {file.capacity - row} of them free, but {len(places)} logos"
                    " are to be stored: grow it with `manage.py grow N`"
                )
            slots = np.array(batch.ids, np.int64)
            file.write_content(row, slots, batch.embeddings, batch.records)
            file.sync()
            check()  # else another writer may take these rows for its own
            commit(file, {row: slots})
            with self._mutex:
                known.take_own(row, batch.ids)
        return batch.ids

    @contextmanager
    def _writing(self) -> Iterator[tuple[KnownRows, Callable[[], None]]]:
        """Hold the writer's lock, knowing every row: whatever is in the file now stays as it is."""
        if not self._writable:
            raise StoreUnavailableError(f"{self.path} was opened for reading only")
        if not self._turn.acquire(timeout=self._wait_seconds):
            raise StoreUnavailableError(f"{self.path} is being rewritten, or its disk is slow: try again later")
        try:
            with writer_lock(self.path) as check:
                known = self._known()
                if not known.file.is_at(self.path):
                    raise StoreUnavailableError(f"{self.path} is gone: put it back, or restart the service")
                known.file.refuse_after_failed_sync()
                with self._mutex:
                    known.look(alone=True)
                if known.superseded:
                    check()
                    self._deletions.tell()
                    finish_deletions(known)
                yield known, check
        finally:
            self._turn.release()
