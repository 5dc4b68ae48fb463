"""Send to the engine what the store holds and the engine lacks, so that new logos are found at once.

`/add` upserts its own logos once they are on the disk (`send`), and waits until the engine finds them: queries use
bounded staleness, and see a logo once a strong read has returned it. If that fails, the logos are stored all the same:
a thread (`catch_up`) checks every few seconds what was stored since its last run, asks the engine which of these logos
it lacks, and sends them. One process at a time does this, and records its progress in its outbox (`outbox.py`). Sending
a logo again does no harm, because it is upserted (`insert` would make Milvus hold it twice).
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
_LEAST_SECONDS = 1.0  # for a strong read: a shorter limit would time out, which stops all queries
_IDS_AT_ONCE = 8_192


class Feed:
    """Keeps the collection of the default index in step with the store. Threads may share it.

    Args:
        source: the logos.
        catalog: knows the collection.
        milvus: the connection.
        outbox: of the default index.
        seconds: time between two runs of its thread.
        sends: whether to send anything; false for a service that only reads.
        source_errors: errors of the source that may pass; the next run tries again.
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
        """Send logos that were just stored, and wait until the engine finds them. If it does not answer, send later."""
        try:
            index = self._index()
            if index is not None:
                self._send(index.collection, np.array(logo_ids, np.int64))
        except SearchError as error:
            logger.warning("logos %s are stored, and sent to Milvus later: %s", logo_ids, error)

    def forget(self, logo_ids: Collection[int]) -> None:
        """Delete logos from the engine that were just deleted. If it does not answer, do so later."""
        try:
            index = self._index()
            if index is not None:
                delete(self._milvus, index.collection.name, logo_ids)
        except SearchError as error:
            logger.warning("logos %s are deleted here, and later in Milvus: %s", list(logo_ids), error)

    def catch_up(self) -> None:
        """Send what the engine lacks, unless another process is doing so.

        Raises:
            EngineError: the engine refused it, or did not answer.
            IndexUnavailableError: the collection cannot be searched for now.
        """
        with self._outbox.turn(wait=False) as ours:
            index = self._index() if ours else None
            if index is None:
                return
            known = self._outbox.read()
            if known is not None and known[0] != index.collection.name:
                self._catalog.refresh()  # a build may just have switched; without this, all ids would be compared twice
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
        """Return whether this feed keeps an index in step."""
        return self._sends and index is self._catalog.get(None)

    def start(self) -> None:
        """Call `catch_up` every few seconds from now on, in a separate thread."""
        if self._sends:
            self._thread.start()

    def close(self) -> None:
        """Stop the thread; the next process sends what was not sent."""
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
                    logger.warning("stored logos are not in Milvus yet: %s", error)
                told = kind
            except Exception:
                logger.exception("sending stored logos to Milvus failed; the next try is in %g s", self._seconds)

    def _index(self) -> MilvusSearchIndex | None:
        """Return the index to keep in step, if there is one: it may never have been built."""
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
    """Delete from a collection what was deleted, send what it lacks, and return how many logos it lacked.

    Args:
        milvus: the connection.
        index: the collection.
        changes: of the source.
        source: the logos.
        sends_new: whether to send logos that it lacks, and not only those that were deleted and stored again.
        in_build: whether the logos belong to the build; those that were deleted and stored again stay what they are.

    Raises:
        EngineError: the engine refused it, or did not answer.
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
    """Send the logos that have a usable vector, and return how many they are.

    Raises:
        EngineError: the engine refused them, or did not answer.
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
    """Send `(n, dim)` vectors, which fit into one message, and return `n`.

    Args:
        milvus: the connection.
        collection: what they are sent to.
        logo_ids: (n,)
        vectors: (n, dim)
        in_build: whether they belong to the build; a logo that does not is never its own neighbour.
        method: `upsert`, or `insert` for logos that the collection certainly lacks.
        seconds: the time limit; by default that of an add.

    Raises:
        EngineError: the engine refused them, or did not answer.
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
    """Delete logos from a collection; ids that it does not hold are ignored.

    Raises:
        EngineError: the engine refused it, or did not answer.
    """
    ids = list(logo_ids)
    for first in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[first : first + _IDS_AT_ONCE]
        milvus.call("delete", name, ids=some, seconds=milvus.connection.write_seconds)
