"""Writes to the store file: the steps that the docstring of `store.py` explains."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from embeddings.errors import StoreFullError, StoreUnavailableError
from embeddings.store.batch import Batch
from embeddings.store.commit import commit, finish_replacements
from embeddings.store.deletions import DeletionLog
from embeddings.store.id_table import KnownRows
from embeddings.store.live_rows import LiveRows
from embeddings.store.writer_lock import writer_lock


class StoreWriter:
    """Appends to a store file and deletes from it. Threads may share it.

    Args:
        path: of the file.
        rows: what is known of it.
        deletions: its log of deletions.
        writable: if false, each write is refused.
        wait_seconds: see `EmbeddingStore`.
    """

    def __init__(
        self, path: Path, rows: LiveRows, deletions: DeletionLog, *, writable: bool, wait_seconds: float
    ) -> None:
        self._path = path
        self._rows = rows
        self._deletions = deletions
        self._writable = writable
        self._wait_seconds = wait_seconds
        self._turn = threading.Lock()  # queues this process's writers for the lock of all processes

    def append(self, batch: Batch, *, replace: bool) -> list[int]:
        """Append at most `WINDOW` rows; as `EmbeddingStore.append`."""
        with self._writing() as (known, check):
            stored = {logo_id: row for logo_id in batch.ids if (row := known.find(logo_id)) is not None}
            new = [logo_id for logo_id in batch.ids if logo_id not in stored]
            if not replace and stored:
                batch = batch.at([place for place, logo_id in enumerate(batch.ids) if logo_id not in stored])
            if not batch.ids:
                with self._rows.mutex:
                    known.make_durable()
                return []
            file, row = known.file, known.end
            if len(batch.ids) > file.capacity - row:
                raise StoreFullError(
                    f"{self._path} has {file.capacity} rows, {file.capacity - row} of them free, but {len(batch.ids)}"
                    " logos are to be stored: grow it with `manage.py grow N`"
                )
            slots = np.array(batch.ids, np.int64)
            file.write_content(row, slots, batch.embeddings, batch.records)
            file.sync()
            check()  # without the lock, another writer may use these rows
            commit(file, {row: slots})
            with self._rows.mutex:
                known.add_own(row, batch.ids)
                known.superseded.update(stored.values() if replace else ())
            if known.superseded:
                check()
                finish_replacements(known, self._deletions)
        return new

    def delete(self, logo_ids: Sequence[int]) -> list[int]:
        """Delete logos; as `EmbeddingStore.delete`."""
        with self._writing() as (known, check):
            rows = {logo_id: row for logo_id in logo_ids if (row := known.find(logo_id)) is not None}
            if rows:
                check()
                self._deletions.write(rows)
                commit(known.file, {row: np.array([-logo_id]) for logo_id, row in rows.items()})
            if len(rows) < len(logo_ids):  # "it is not stored" is a promise, too
                known.file.sync()
        return list(rows)

    @contextmanager
    def _writing(self) -> Iterator[tuple[KnownRows, Callable[[], None]]]:
        """Hold the writer's lock and know every row: the file does not change until the block ends."""
        if not self._writable:
            raise StoreUnavailableError(f"{self._path} was opened for reading only")
        if not self._turn.acquire(timeout=self._wait_seconds):
            raise StoreUnavailableError(f"{self._path} is being rewritten, or its disk is slow: try again later")
        try:
            with writer_lock(self._path) as check:
                known = self._rows.known()
                if not known.file.is_at(self._path):
                    raise StoreUnavailableError(f"{self._path} is gone: put it back, or restart the service")
                known.file.refuse_after_failed_sync()
                with self._rows.mutex:
                    known.look(alone=True)
                if known.superseded:
                    check()
                    finish_replacements(known, self._deletions)
                yield known, check
        finally:
            self._turn.release()
