"""Sends to the engine what the store holds and the engine does not, so that new logos are found at once.

`/add` upserts its own logos when they are on the disk (`send`), and waits until the engine finds them: queries are read
with bounded staleness, and see a logo once a strong read of it was answered. If that fails, the logos are stored all
the same: a thread (`catch_up`) looks every few seconds what was stored since the last time, asks the engine which of
these logos it lacks, and sends them. One process at a time does, and remembers in its outbox (`outbox.py`) how far it
came. What is sent again does no harm, for it is upserted (`insert` would have Milvus hold it twice).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from index.errors import EngineUnreachableError, SearchError
from index.milvus.catalog import MilvusCatalog
from index.milvus.client import Milvus
from index.milvus.collections import Collection as MilvusCollection
from index.milvus.engine import MilvusSearchIndex
from index.milvus.logo_source import Changes, LogoSource
from index.milvus.outbox import Outbox
from index.vectors import usable_rows

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.0
_LEAST_SECONDS = 1.0  # for a strong read: one that is cut short would stop all queries
_IDS_AT_ONCE = 8_192


class Feed:
    """Keeps the collection of the default index in step with the store. Threads may share it.

    Args:
        source: the logos.
        catalog: knows the collection.
        milvus: the connection.
        outbox: of the default index.
        seconds: between two looks of its thread.
        sends: whether anything is sent at all; a service that only reads is not to.
        source_errors: what the source raises when it cannot be read for now; the next look tries again.
    """

    def __init__(
        self,
        source: LogoSource,
        catalog: MilvusCatalog,
        milvus: Milvus,
        outbox: Outbox,
        *,
        seconds: float,
        sends: bool = True,
        source_errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self._source = source
        self._catalog = catalog
        self._milvus = milvus
        self._outbox = outbox
        self._seconds = seconds
        self._sends = sends
        self._passing_errors: tuple[type[Exception], ...] = (SearchError, OSError, *source_errors)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="milvus-feed", daemon=True)

    def send(self, logo_ids: Sequence[int]) -> None:
        """Have the engine find logos that were just stored; if it does not answer, they are sent later."""
        try:
            index = self._index()
            if index is not None:
                self._send(index.collection, np.array(logo_ids, np.int64))
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
            changes = self._source.since(known[1] if known and known[0] == name else None)
            sent = bring_up(self._milvus, index, changes, self._source)
            if sent:
                logger.info("sent %d logos to the collection %s that it lacked", sent, name)
            if known != (name, changes.mark.as_json()):
                self._outbox.write(name, changes.mark)

    def count_unsent(self) -> int:
        """Return how many logos were stored since the engine was known to hold all of them."""
        known = self._outbox.read()
        return self._source.count_since(known[1] if known else None)

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
            except self._passing_errors as error:
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

    def _send(self, collection: MilvusCollection, logo_ids: NDArray[np.int64]) -> None:
        deadline = time.monotonic() + self._milvus.connection.write_seconds
        upsert(self._milvus, collection, logo_ids, self._source, in_build=False)
        self._milvus.call(
            "get",
            collection.name,
            ids=logo_ids.tolist(),
            output_fields=["logo_id"],
            consistency_level="Strong",
            seconds=max(_LEAST_SECONDS, deadline - time.monotonic()),
        )


def bring_up(
    milvus: Milvus,
    index: MilvusSearchIndex,
    changes: Changes,
    source: LogoSource,
    *,
    sends_new: bool = True,
    in_build: bool = False,
) -> int:
    """Delete from a collection what was deleted, send what it lacks, and return how many logos these were.

    Args:
        milvus: the connection.
        index: the collection.
        changes: of the source.
        source: the logos.
        sends_new: whether to send logos that it lacks, and not only those that were deleted and stored again.
        in_build: whether the logos belong to the build; those that were deleted and stored again stay what they are.

    Raises:
        EngineError: the engine does not take it.
    """
    collection = index.collection
    delete(milvus, collection.name, changes.deleted)
    sent = 0
    added = changes.added if sends_new else changes.added[:0]
    for first in range(0, len(added), _IDS_AT_ONCE):
        some = added[first : first + _IDS_AT_ONCE]
        sent += upsert(milvus, collection, index.absent(some, strong=True), source, in_build=in_build)
    readded = np.array(changes.readded, np.int64)
    of_build = np.ones(len(readded), bool) if in_build else np.isin(readded, index.of_build(readded, strong=True))
    upsert(milvus, collection, readded[of_build], source, in_build=True)
    upsert(milvus, collection, readded[~of_build], source, in_build=False)
    return sent


def upsert(
    milvus: Milvus, collection: MilvusCollection, logo_ids: NDArray[np.int64], source: LogoSource, *, in_build: bool
) -> int:
    """Send logos and return their number; those whose vector cannot be read, or searched for, are left out.

    Raises:
        EngineError: the engine does not take them.
    """
    sent, rows = 0, milvus.connection.rows_a_message(source.dim)
    for first in range(0, len(logo_ids), rows):
        some = logo_ids[first : first + rows]
        vectors = source.vectors(some)
        good = usable_rows(vectors)
        sent += send_vectors(milvus, collection, some[good], vectors[good], in_build=in_build)
    return sent


def send_vectors(
    milvus: Milvus,
    collection: MilvusCollection,
    logo_ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    *,
    in_build: bool = True,
    method: str = "upsert",
    seconds: float | None = None,
) -> int:
    """Send `(n, dim)` vectors, which fit into one message, and answer `n`.

    Args:
        milvus: the connection.
        collection: what they are sent to.
        logo_ids: (n,)
        vectors: (n, dim)
        in_build: whether they belong to the build; a logo that does not is never its own neighbour.
        method: `upsert`, or `insert` for logos that are surely not there.
        seconds: that it may take; by default as long as an add may wait.

    Raises:
        EngineError: the engine does not take them.
    """
    if len(logo_ids):
        mark = {"in_build": in_build} if collection.marks_build else {}
        rows = [
            {"logo_id": logo_id, "embedding": vector, **mark}
            for logo_id, vector in zip(logo_ids.tolist(), vectors, strict=True)
        ]
        milvus.call(method, collection.name, rows, seconds=seconds or milvus.connection.write_seconds)
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
