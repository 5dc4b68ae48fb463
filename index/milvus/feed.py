"""Sends to the engine what the store holds and the engine does not, so that new logos are found at once.

`/add` upserts its own logos when they are on the disk (`send`), and waits until the engine finds them: queries are read
with bounded staleness, and see a logo once a strong read of it was answered. If that fails, the logos are stored all
the same: a thread (`catch_up`) looks every few seconds what was stored since the last time, asks the engine which of
these logos it lacks, and sends them. One process at a time does, and remembers how far it came, in `milvus.json` in the
directory of the index:

    {"collection": "logos_...", "mark": {...}}    all that was stored until then is in that collection

Only where that is lost, or the collection or the store's file is another, are all ids compared. It is not written to
be durable: what is sent again does no harm, for it is upserted (`insert` would have Milvus hold it twice).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from durable import atomic_write
from embeddings.errors import EmbeddingsError
from embeddings.store.changes import Changes, StoreMark
from embeddings.store.store import EmbeddingStore
from index.errors import EngineUnreachableError, SearchError
from index.milvus.catalog import MilvusCatalog
from index.milvus.client import Milvus
from index.milvus.engine import MilvusSearchIndex
from index.vectors import usable_rows

logger = logging.getLogger(__name__)

STATE_NAME = "milvus.json"

_LOCK_NAME = ".milvus.lock"
_CLOSE_SECONDS = 1.0
_LEAST_SECONDS = 1.0  # for a strong read: one that is cut short would stop all queries
_IDS_AT_ONCE = 8_192


class Outbox:
    """How far a collection is in step with a store, and whose turn it is to see to that.

    Args:
        index_dir: of the index, made if missing.
        name: of the file.
    """

    def __init__(self, index_dir: Path, name: str = STATE_NAME) -> None:
        self._index_dir = index_dir
        self._path = index_dir / name

    def read(self) -> tuple[str, Any] | None:
        """Answer the collection, and the mark of what is in it; `None` if that is not known."""
        try:
            state = json.loads((self._path).read_bytes())
            return str(state["collection"]), state["mark"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read, all ids are compared: %s", self._path, error)
            return None

    def write(self, collection: str, mark: StoreMark) -> None:
        """Remember both, for whoever comes next."""
        self._index_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path, alone=True) as file:
            file.write(json.dumps({"collection": collection, "mark": mark.as_json()}).encode())

    def forget(self) -> None:
        """Remember nothing."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def turn(self, *, wait: bool) -> Iterator[bool]:
        """Hold the lock on the outbox, and say so; if another process has it and `wait` is false, do not."""
        self._index_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._index_dir / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


class Feed:
    """Keeps the collection of the default index in step with the store. Threads may share it.

    Args:
        store: the logos.
        catalog: knows the collection.
        milvus: the connection.
        outbox: of the default index.
        seconds: between two looks of its thread.
        sends: whether anything is sent at all; a service that only reads is not to.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        catalog: MilvusCatalog,
        milvus: Milvus,
        outbox: Outbox,
        *,
        seconds: float,
        sends: bool = True,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._milvus = milvus
        self._outbox = outbox
        self._seconds = seconds
        self._sends = sends
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="milvus-feed", daemon=True)

    def send(self, logo_ids: Sequence[int]) -> None:
        """Have the engine find logos that were just stored; if it does not answer, they are sent later."""
        try:
            index = self._index()
            if index is not None:
                self._send(index.collection.name, np.array(logo_ids, np.int64))
        except SearchError as error:
            logger.warning("logos %s are stored, and sent to Milvus later: %s", logo_ids, error)

    def forget(self, logo_ids: Collection[int]) -> None:
        """Have the engine forget logos that were just deleted; if it does not answer, it is told later."""
        try:
            index = self._index()
            if index is not None:
                delete(self._milvus, index.collection.name, logo_ids)
        except SearchError as error:
            logger.warning("logos %s are deleted, and Milvus is told later: %s", list(logo_ids), error)

    def catch_up(self) -> None:
        """Send what the engine lacks, unless another process is at it.

        Raises:
            EngineError: the engine does not take it.
            IndexUnavailableError: the collection cannot be searched for now.
        """
        with self._outbox.turn(wait=False) as ours:
            index = self._index() if ours else None
            if index is None:
                return
            known = self._outbox.read()
            if known is not None and known[0] != index.collection.name:
                self._catalog.refresh()  # a build may just have switched; else all ids would be compared, twice
                index = self._index() or index
            name = index.collection.name
            changes = self._store.since(known[1] if known and known[0] == name else None)
            sent = bring_up(self._milvus, index, changes, self._store)
            if sent:
                logger.info("sent %d logos to the collection %s that it lacked", sent, name)
            if known != (name, changes.mark.as_json()):
                self._outbox.write(name, changes.mark)

    def waiting(self) -> int:
        """Answer how many logos were stored since all were known to be in the engine."""
        known = self._outbox.read()
        return self._store.count_since(known[1] if known else None)

    def feeds(self, index: object) -> bool:
        """Say whether it keeps an index in step."""
        return self._sends and index is self._catalog.get(None)

    def start(self) -> None:
        """Catch up every few seconds from now on, in a thread of its own."""
        if self._sends:
            self._thread.start()

    def close(self) -> None:
        """End the thread; what was not sent is sent by the next process."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_CLOSE_SECONDS)

    def _run(self) -> None:
        told = ""
        while not self._closing.wait(self._seconds):
            try:
                self.catch_up()
                told = ""
            except (SearchError, EmbeddingsError, OSError) as error:
                kind = "no answer" if isinstance(error, EngineUnreachableError) else str(error)
                if kind != told:
                    logger.warning("stored logos wait for Milvus: %s", error)
                told = kind
            except Exception:
                logger.exception("sending stored logos to Milvus failed; the next try is in %g s", self._seconds)

    def _index(self) -> MilvusSearchIndex | None:
        """Return what is to be kept in step, if anything is: the index may never have been built."""
        index = self._catalog.get(None) if self._sends else None
        return index if isinstance(index, MilvusSearchIndex) else None

    def _send(self, name: str, logo_ids: NDArray[np.int64]) -> None:
        deadline = time.monotonic() + self._milvus.connection.write_seconds
        upsert(self._milvus, name, logo_ids, self._store)
        self._milvus.call(
            "get",
            name,
            ids=logo_ids.tolist(),
            output_fields=["logo_id"],
            consistency_level="Strong",
            seconds=max(_LEAST_SECONDS, deadline - time.monotonic()),
        )


def bring_up(milvus: Milvus, index: MilvusSearchIndex, changes: Changes, store: EmbeddingStore) -> int:
    """Have a collection forget and take in what changed, and answer how many logos it lacked.

    Raises:
        EngineError: the engine does not take it.
    """
    name = index.collection.name
    delete(milvus, name, changes.deleted)
    sent = 0
    for first in range(0, len(changes.added), _IDS_AT_ONCE):
        some = changes.added[first : first + _IDS_AT_ONCE]
        sent += upsert(milvus, name, index.absent(some, strong=True), store)
    upsert(milvus, name, np.array(changes.readded, np.int64), store)
    return sent


def upsert(milvus: Milvus, name: str, logo_ids: NDArray[np.int64], store: EmbeddingStore) -> int:
    """Send logos, and answer how many of them there are: one whose vector cannot be had, or searched for, is left out.

    Raises:
        EngineError: the engine does not take them.
    """
    sent, rows = 0, milvus.connection.rows_a_message(store.dim)
    for first in range(0, len(logo_ids), rows):
        some = logo_ids[first : first + rows]
        vectors = store.vectors(some)
        good = usable_rows(vectors)
        sent += send_vectors(milvus, name, some[good], vectors[good])
    return sent


def send_vectors(
    milvus: Milvus,
    name: str,
    logo_ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    *,
    method: str = "upsert",
    seconds: float | None = None,
) -> int:
    """Send `(n, dim)` vectors, which fit into one message, and answer `n`.

    Args:
        milvus: the connection.
        name: of the collection.
        logo_ids: (n,)
        vectors: (n, dim)
        method: `upsert`, or `insert` for logos that are surely not there.
        seconds: that it may take; by default as long as an add may wait.

    Raises:
        EngineError: the engine does not take them.
    """
    if len(logo_ids):
        rows = [
            {"logo_id": logo_id, "embedding": vector}
            for logo_id, vector in zip(logo_ids.tolist(), vectors, strict=True)
        ]
        milvus.call(method, name, rows, seconds=seconds or milvus.connection.write_seconds)
    return len(logo_ids)


def delete(milvus: Milvus, name: str, logo_ids: Collection[int]) -> None:
    """Have a collection forget logos, those among them that it does not hold, too.

    Raises:
        EngineError: the engine does not take it.
    """
    ids = list(logo_ids)
    for first in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[first : first + _IDS_AT_ONCE]
        milvus.call("delete", name, ids=some, seconds=milvus.connection.write_seconds)
