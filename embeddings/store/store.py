"""The embedding store: what it has acknowledged survives a killed process, a kernel crash and a power cut.

Any number of processes, with any number of threads, read and append to one file (`layout.py` describes its bytes). All
else follows from one rule: **a row exists if, and only if, its id slot is not zero.** The slot is written last, so
there is no journal, and nothing to repair when a crashed service starts again.

Appending, step by step
    1.  Take the writer's lock: a `flock` on the side file `<path>.lock`. The kernel releases it when its holder dies.
    2.  Look for rows that others appended. Ids that are already stored are skipped, but only after a sync: to report
        "it is stored" promises as much as to store it.
    3.  Write embeddings, checksums and provenance into the rows after the last used one. Their id slots are zero: for
        every reader, and after a crash, these rows are empty, and the next writer uses them.
    4.  `fdatasync`. Without it the disk could hold the ids of the next step before their content.
    5.  Write the ids. Each is one aligned word, which a disk writes whole or not at all. A crash here keeps some ids
        of the batch and loses others: those rows were never acknowledged, and each is whole or absent. A slot that
        stayed zero between used ones is never used again.
    6.  `fdatasync`. Only then respond.

Provenance, the image that a logo is cut from, takes part in step 3 only: it is as durable as the row, and has its own
checksum. A row with damaged provenance is a good row without provenance. Stores of version 1 have none.

Deleting writes the ids to a file for code that answers from an index (`deletions.py`), negates the slots, syncs, and
never frees the rows: a slot that is not zero is never given to another logo.

Replacing appends the logo once more, and then deletes its earlier row
    After step 6 the logo is in two rows, and the later whole one counts: for every reader, and after a crash, when the
    next writer syncs once more and resumes here. Write the ids to the deletion log, sync it, negate the earlier slots,
    sync. So at every instant either the old vector is there or the new one, with its own provenance. A backup whose
    last run was interrupted (`backup.py`) may hold a logo twice for the same reason.

After a failed sync nobody knows what the disk holds, and the kernel forgets that its cache differs from the disk. So
the ids just written are negated (others would read them from the cache and acknowledge them), and this store refuses
to write until it is opened again. Any other error leaves rows whole or empty; a later append may succeed.

Reading takes no lock, as a rule
    A batch is at most `WINDOW` rows and begins after the last used row, so reading the `WINDOW` slots after the last
    known row never misses one. While a batch is being written, a reader may see a later id of it before an earlier
    one. So a row whose slot is zero, or whose checksum disagrees, is *pending*: it is checked again each time, until a
    later batch, or holding the lock, shows that nobody can still be writing it.

    Reading id slots after a look, those of all logos or of one, could miss a logo that is replaced meanwhile: the
    earlier row is removed, and the later one came after the look. The deletion log has grown then, so the reader tries
    again; the last try keeps writers out for that moment.

Growing and compacting (`rewrite.py`) put another file at the same path. Each call checks whether its open file is still
the one at the path; snapshots keep the old one. A writer syncs the directory when it opens a file, because the process
that put it there may have been killed before doing so.

All this holds on a local Linux file system whose disk obeys syncs. Open a store after forking, not before.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import DamagedRowError
from embeddings.store.batch import checked_batch
from embeddings.store.changes import ChangeReader, Changes, StoreMark
from embeddings.store.damaged_rows import DamagedRow, DamageLog, damaged_rows
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import WINDOW
from embeddings.store.layout import ModelStamp
from embeddings.store.live_count import LiveCount
from embeddings.store.live_rows import LiveRows
from embeddings.store.provenance import Provenance, provenance_in
from embeddings.store.seen_rows import SeenRows
from embeddings.store.snapshot import Snapshot
from embeddings.store.store_file import StoreFile
from embeddings.store.stored_ids import StoredIds
from embeddings.store.stored_vectors import StoredVectors
from embeddings.store.writer import StoreWriter

logger = logging.getLogger(__name__)
_DRAWS = 100  # random rows to try before `any_id` gives up


class EmbeddingStore:
    """The logos in one store file: their ids and embeddings. Threads may share it.

    Args:
        path: the file, made by `prepare_store`.
        writable: whether to allow `append` and `delete`.
        wait_seconds: how long a thread that wants to write waits for other threads of its process. (One of them waits
            for other processes without a limit: milliseconds, but minutes during a rewrite.)

    Raises:
        StoreLayoutError: the file is not a store, or has the layout of the original service.
        StoreUnavailableError: it is missing, may not be opened, or another program has it open for writing.
    """

    def __init__(self, path: Path, *, writable: bool = True, wait_seconds: float = 10.0) -> None:
        self.path = path.resolve()
        self._deletions = DeletionLog(self.path)
        self._damaged = DamageLog(logger, "Damaged rows of %s are left out of results, of logos %s: see `verify`")
        self._torn = DamageLog(logger, "Damaged provenance in %s is left out of results, of logos %s: see `verify`")
        self._count = LiveCount(self.path, self._deletions)
        self._rows = LiveRows(self.path, self._deletions, writable=writable)
        self._writer = StoreWriter(self.path, self._rows, self._deletions, writable=writable, wait_seconds=wait_seconds)
        self._changes = ChangeReader(self.path, self._rows, self._deletions)

    @property
    def capacity(self) -> int:
        """The number of rows in the file."""
        return self._rows.known().file.capacity

    @property
    def dim(self) -> int:
        """The length of an embedding."""
        return self._rows.known().file.dim

    @property
    def stamp(self) -> ModelStamp:
        """Which model made the embeddings."""
        return self._rows.known().file.stamp

    @property
    def keeps_provenance(self) -> bool:
        """Whether the file has room for provenance. A file of version 1 has none until it is rewritten."""
        return self._rows.known().file.keeps_provenance

    def __len__(self) -> int:
        return self._rows.while_no_row_goes(lambda: self._count.count(self.seen))

    def __contains__(self, logo_id: int) -> bool:
        return self._rows.find(logo_id)[1] is not None

    def get(self, logo_id: int) -> NDArray[np.float32]:
        """Return the embedding of a logo: (dim,), read-only.

        Raises:
            KeyError: it is not stored.
            DamagedRowError: its row disagrees with its checksum.
        """
        known, row = self._rows.find(logo_id)
        if row is None:
            raise KeyError(logo_id)
        embedding = known.file.embedding(row, logo_id)
        if embedding is None:
            raise DamagedRowError(
                f"the embedding of logo {logo_id} (row {row} of {self.path}) cannot be read, or disagrees with its "
                "checksum: `manage.py repair` quarantines it, or restores it from a backup"
            )
        return embedding

    @property
    def vectors(self) -> StoredVectors:
        """Returns the embeddings of logos, (n, dim), by their ids, (n,)."""
        return StoredVectors(self._rows.find_all, lambda ids: self._damaged.log_new(self.path, ids))

    def provenance(self, logo_ids: Sequence[int]) -> dict[int, Provenance]:
        """Return the provenance of the logos that are stored and have it, in their order.

        Damaged provenance is omitted, and logged once.
        """
        known, rows = self._rows.find_each(logo_ids)
        ids = np.array([*rows], np.int64)
        records, damaged = known.file.records_at([*rows.values()], ids)
        self._torn.log_new(self.path, ids[damaged].tolist())
        found = zip(rows, provenance_in(records), strict=True)
        return {logo_id: origin for logo_id, origin in found if origin is not None}

    def any_id(self) -> int | None:
        """Return the id of a random logo; None if no row of a few random ones holds a logo."""
        seen = self.seen()
        for _ in range(_DRAWS if seen.end else 0):
            slot = int(seen.slots(row := secrets.randbelow(seen.end), row + 1)[0])
            if slot > 0:
                return slot
        return None

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all logos, (n,), in the order they were stored."""
        return self._rows.while_no_row_goes(lambda: self.seen().ids())

    def stored_ids(self) -> StoredIds:
        """Return the ids of all logos, in little memory."""
        return self._rows.while_no_row_goes(lambda: StoredIds(self.seen()))

    def seen(self) -> SeenRows:
        """Return the rows that the file has now.

        To list all logos, use `ids` or `stored_ids`: one that is replaced later is missing here.
        """
        return self._rows.look()[1]

    def moment(self) -> object:
        """Look at the file, and return what differs once another row is stored, or one replaced, by any process."""
        seen = self.seen()
        return seen.file, seen.end, len(seen.pending)

    def missing(self, logo_ids: Sequence[int]) -> list[int]:
        """Return the ids that are not stored, in order, each once. The others are safely on the disk."""
        known, rows = self._rows.find_each(logo_ids)
        if rows:
            with self._rows.mutex:
                known.make_durable()
        return [logo_id for logo_id in dict.fromkeys(logo_ids) if logo_id not in rows]

    def append(
        self,
        logo_ids: Sequence[int] | NDArray[np.int64],
        embeddings: NDArray[np.float32],
        provenance: Sequence[Provenance | None] | None = None,
        *,
        replace: bool = False,
    ) -> list[int]:
        """Store embeddings, (n, dim) float32, and return the ids that are new, after all are safely on the disk.

        Repeated ids are skipped, and so are ids stored before, unless `replace` is set. More than `WINDOW` rows are
        stored in several batches; if one fails, those before it stay.

        Args:
            logo_ids: n ids.
            embeddings: (n, dim)
            provenance: n of them, None if unknown. An address that is too long is not kept, nor is any provenance in a
                file without room for it.
            replace: whether ids stored before get the new embedding and provenance, each at one instant. Their old rows
                stay used until the store is compacted.

        Raises:
            ValueError: an id is not a positive 64-bit integer, or an embedding has another length or is not finite.
            StoreFullError: a batch does not fit into the file or on the disk.
            StoreUnavailableError: it could not be written.
        """
        batch = checked_batch(logo_ids, embeddings, self.dim, provenance)
        new: list[int] = []
        for first in range(0, len(batch.ids), WINDOW):
            new += self._writer.append(batch.at(range(first, min(first + WINDOW, len(batch.ids)))), replace=replace)
        return new

    def delete(self, logo_ids: Sequence[int]) -> list[int]:
        """Delete logos, and return those that were stored, in order, each once, after a sync.

        Their rows stay used until the store is compacted.

        Raises:
            StoreFullError, StoreUnavailableError: it could not be written; some logos may be deleted.
        """
        return self._writer.delete(logo_ids)

    def deleted_among(self, logo_ids: Collection[int]) -> set[int]:
        """Return the ids whose logos any process deleted and none added again."""
        known = self._rows.last  # the last file seen is enough: the log has what it misses
        candidates = self._deletions.among(logo_ids)
        if known is not None:
            candidates |= known.deleted.intersection(logo_ids)
        return {logo_id for logo_id in candidates if logo_id not in self}

    def ever_deleted(self) -> set[int]:
        """Return the ids of all logos that any process ever deleted, including those added again."""
        return self._deletions.ids()

    def since(self, moment: object) -> Changes:
        """Return what was stored and deleted since a moment from `StoreMark.as_json`, or ever, if it is not one."""
        return self._changes.since(StoreMark.of_json(moment))

    def count_since(self, moment: object) -> int:
        """Return how many logos were stored since a moment, as `since` accepts it. This waits for no writer."""
        mark, seen = StoreMark.of_json(moment), self.seen()
        first = mark.row if mark is not None and mark.is_of(seen) else 0
        return seen.count(first, StoreMark.at(seen, 0, 0).row)

    def mark(self) -> StoreMark:
        """Return this moment, for `since`. It waits for writers: the log names a logo before its row is removed."""
        return self._changes.mark()

    def snapshot(self) -> Snapshot:
        """Return the logos that are stored now, after a sync."""
        file, slots = self.settled()
        rows = np.flatnonzero(slots > 0)
        return Snapshot(file, rows, slots[rows])

    def settled(self) -> tuple[StoreFile, NDArray[np.int64]]:
        """Return the open file and the id slots of its rows, (rows,), including deleted ones, after a sync.

        The slots of rows that are being written now are 0.
        """
        return self._rows.settled()

    def verify(self, progress: Callable[[int], None] = lambda rows: None) -> Iterator[DamagedRow]:
        """Read every used row, deleted ones too, and yield those that are damaged."""
        return damaged_rows(self.seen(), progress)

    def close(self) -> None:
        """Close the file; snapshots keep theirs open."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
