"""Build a new collection from the store, and switch to it.

1.  Create the collection `logos_<index>_<time>`, and send a snapshot of the store to it, message by message. After
    each, `milvus-build.json` in the index's directory records the progress, so a killed build resumes there.
2.  Milvus seals and indexes it, and loads it into memory, beside the one that is served.
3.  Count what it holds, and send what it lacks: a Milvus that was restored to an older disk may have lost some.
4.  Measure its recall, with increasing effort until it is high enough.
5.  Hold the outbox, so that nobody else sends. Send what was stored meanwhile, write the record that marks the
    collection as complete, point the alias at it, and write `milvus.json`. Only now do services see it.
6.  After services had time to switch, release the previous collection from memory, and drop all but the newest.

If Milvus goes away in between, the build waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import EngineError, IndexBuildError, IndexDamagedError
from index.files.build_lock import build_lock
from index.milvus import collections
from index.milvus.client import LARGEST_MESSAGE, Milvus
from index.milvus.collections import Collection, Record
from index.milvus.engine import DEFAULT_EFFORT, MilvusSearchIndex
from index.milvus.feed import bring_up, delete, send_vectors, upsert
from index.milvus.kinds import IndexKind
from index.milvus.logo_source import LogoSource, Mark, Snapshot
from index.milvus.outbox import Outbox
from index.milvus.patience import PatientMilvus
from index.milvus.plan import CollectionPlan
from index.milvus.retirement import retire
from index.recall import QUERIES, Truth, tune
from index.sample import Sample
from index.status import Recall
from index.vectors import MAX_LENGTH, usable_rows

logger = logging.getLogger(__name__)

STATE_NAME = "milvus-build.json"

_LOCK_NAME = ".generate.lock"
_MESSAGE_SECONDS = 60.0  # limit for one message
_IDS_AT_ONCE = 65_536
_DRAWN = 4 * QUERIES  # logos of which some are used to measure recall


class CollectionBuild:
    """A build of an index in Milvus.

    Args:
        milvus: the connection.
        source: the logos.
        index_dir: the directory of the index, created if missing.
        plan: how to build it.
        progress: called with the number of logos just sent, or found to have been sent before.
        only: the ids of the logos to include, (n,); `None` includes all.

    Attributes:
        before: the collection that was served before.
        damaged: number of logos skipped because their rows are damaged.
    """

    def __init__(
        self,
        milvus: Milvus,
        source: LogoSource,
        index_dir: Path,
        plan: CollectionPlan,
        *,
        progress: Callable[[int], None] = lambda logos: None,
        only: NDArray[np.int64] | None = None,
    ) -> None:
        self.before: Collection | None = None
        self.damaged = 0
        self._milvus = milvus
        self._patient = PatientMilvus(milvus, plan.patience_seconds)
        self._source = source
        self._index_dir = index_dir
        self._plan = plan
        self._progress = progress
        self._only = only
        self._in_doubt: list[NDArray[np.int64]] = []
        self._outbox = Outbox(index_dir)
        self._state = Outbox(index_dir, STATE_NAME)
        self._alias = collections.alias_of(index_dir.name)

    def run(self, *, wait: bool = True) -> Collection:
        """Build the collection, and switch to it.

        Args:
            wait: whether to wait for another build of this index to end.

        Raises:
            BuildInProgressError: another build of this index is running, and `wait` is false.
            EngineError: Milvus was away too long, or refused a call.
            IndexBuildError: there is nothing to index, or another index has the same name in Milvus.
        """
        self._index_dir.mkdir(parents=True, exist_ok=True)
        with build_lock(self._index_dir / _LOCK_NAME, wait=wait):
            self.before = self._patient.wait_for(self._current)
            moment = self._source.mark()  # before the snapshot: what is stored in between is in it, and checked again
            snapshot = self._source.snapshot()
            collection, moment, row = self._begun(moment, len(snapshot))
            truth, sent = self._fill(collection, snapshot, moment, row)
            logger.info("Milvus indexes %d logos", sent)
            self._patient.seal_and_index(collection.name)
            self._patient.load(collection.name, self._plan.replicas)
            self._complete(collection, snapshot, sent)
            recall = self._measure(collection, truth, sent)
            record = replace(collection.record, recall=recall, stored_rows=len(snapshot))
            collection = self._switch(replace(collection, record=record), moment)
            self._state.forget()
            before = None if self.before is None else self.before.name
            retire(self._milvus, collection, before, keep=self._plan.keep, grace_seconds=self._plan.grace_seconds)
        self.damaged = snapshot.damaged
        return collection

    def searched(self, collection: Collection) -> MilvusSearchIndex:
        """Return an index of a collection that was built, searched with the effort that was measured."""
        recall = collection.record.recall
        return self._searched(collection, recall.search_k if recall else DEFAULT_EFFORT)

    def _current(self) -> Collection | None:
        """Return the collection that the alias points at now."""
        name = collections.aliased(self._milvus, self._alias)
        found = None if name is None else collections.describe(self._milvus, name)
        if found is not None and found.record.index != self._index_dir.name:
            raise IndexBuildError(
                f"the alias {self._alias} belongs to the index {found.record.index}, whose name in Milvus is the same"
                f" as that of {self._index_dir.name}: choose another name"
            )
        return found

    def _begun(self, moment: Mark, logos: int) -> tuple[Collection, Mark, int]:
        """Resume the collection of a build that was killed, or create a new one.

        Returns:
            The collection; the moment of the store that it will hold in the end; the first row that was not sent.
        """
        kind = IndexKind.of(self._plan.kind, logos)
        record = Record(self._index_dir.name, self._source.stamp.name, self._source.stamp.digest, kind.name)
        known = self._state.read()
        left = None if known is None else self._patient.wait_for(lambda: self._left(known[0]))
        if known is not None and left is not None:
            same = left.record == record and left.dim == self._source.dim and left.marks_build
            resume = self._plan.resume and same and self._only is None  # with `only`, it may hold other logos
            changes = self._source.since(known[1])
            if resume and changes.first_row:
                logger.info("resuming the collection %s of an earlier build", left.name)
                # Now: its logos are counted before the last delta, and logos that were added again are inserted again.
                gone = [*changes.deleted, *changes.readded]
                self._patient.wait_for(lambda: delete(self._milvus, left.name, gone))
                return left, moment, changes.first_row
            self._patient.call("drop_collection", left.name)
        name = self._patient.wait_for(self._new_name)
        self._state.write(name, moment.at_row(0, 0))
        self._patient.wait_for(lambda: self._create(name, record, kind))
        logger.info("filling the collection %s, of type %s", name, kind.name)
        return Collection(name, self._source.dim, record), moment, 0

    def _left(self, name: str) -> Collection | None:
        """Return the collection of an earlier build; `None` if it is gone, or was completed."""
        try:
            found = collections.describe(self._milvus, name)
        except IndexDamagedError:  # killed before it had a record
            return Collection(name, 0, Record("", "", "", ""))
        return None if found is None or found.record.items else found

    def _new_name(self) -> str:
        taken = collections.collections_of(self._milvus, self._index_dir.name)
        while (name := collections.new_name(self._index_dir.name)) in taken:
            self._patient.pause()
        return name

    def _create(self, name: str, record: Record, kind: IndexKind) -> None:
        if self._ask("has_collection", name):  # an earlier try created it, but its response was lost
            self._ask("drop_collection", name)
        dim, shards = self._source.dim, self._plan.shards
        collections.create(self._milvus, name, dim=dim, record=record, params=kind.params, shards=shards)

    def _fill(self, collection: Collection, snapshot: Snapshot, moment: Mark, row: int) -> tuple[Truth, int]:
        """Send the logos from a row on; return the neighbours to find among all logos, and the number of these."""
        truth = self._sample(snapshot).usable().truth()
        done, to_send, logos, unusable = 0, snapshot.place_of(row), 0, 0
        in_doubt = snapshot.place_of(row + LARGEST_MESSAGE // (4 * snapshot.dim))  # sent by the build that was killed
        for places, ids, vectors in snapshot.placed_blocks(self._milvus.connection.rows_a_message(snapshot.dim)):
            usable = usable_rows(vectors)
            unusable += int(np.count_nonzero(~usable))
            if self._only is not None:
                usable &= np.isin(ids, self._only)
            ids, vectors = ids[usable], np.asarray(vectors[usable], np.float32)
            logos += len(ids)
            truth.take_in(ids, vectors)
            if not len(places):  # all rows are damaged
                continue
            last = int(places[-1])
            if last >= to_send:
                self._send(collection, ids, vectors, may_be_there=row > 0 and int(places[0]) < in_doubt)
                if self._only is None:  # else the next build, which may include more logos, starts again
                    row_after, last_id = snapshot.row_after(last), int(snapshot.ids[last])
                    sent = moment if row_after >= moment.row else moment.at_row(row_after, last_id)
                    self._state.write(collection.name, sent)
            self._progress(last + 1 - done)
            done = last + 1
        if unusable:
            logger.warning("%d vectors are left out: not finite, or longer than %.2g", unusable, MAX_LENGTH)
        if not logos:
            raise IndexBuildError("nothing to index")
        return truth, logos

    def _sample(self, snapshot: Snapshot) -> Sample:
        if self._only is None:
            return Sample(*snapshot.sample(_DRAWN, self._plan.seed))
        wanted = snapshot.ids[np.isin(snapshot.ids, self._only)]
        drawn = np.random.default_rng(self._plan.seed).permutation(wanted)[:_DRAWN]
        return Sample(drawn, self._source.vectors(drawn))

    def _send(
        self, collection: Collection, ids: NDArray[np.int64], vectors: NDArray[np.float32], *, may_be_there: bool
    ) -> None:
        """Insert logos that are not in the collection, and upsert those that may be.

        An upsert deletes first, which makes Milvus rewrite its segments and index them twice. But an insert without a
        response may still be executed later: those logos are upserted now, and again when it must have been executed.
        """
        if not may_be_there:
            try:
                send_vectors(self._milvus, collection, ids, vectors, method="insert", seconds=_MESSAGE_SECONDS)
            except EngineError as error:
                logger.warning("%s", error)
                self._in_doubt.append(ids)
            else:
                return
        self._patient.wait_for(lambda: send_vectors(self._milvus, collection, ids, vectors, seconds=_MESSAGE_SECONDS))

    def _complete(self, collection: Collection, snapshot: Snapshot, sent: int) -> None:
        """Send logos again that are missing, or may be stored twice."""
        for ids in self._in_doubt:
            self._upsert(collection, ids)
        held = self._patient.count(collection.name)
        ids = snapshot.ids if self._only is None else snapshot.ids[np.isin(snapshot.ids, self._only)]
        if held > sent:  # pymilvus silently inserts again if the connection breaks before the response
            logger.warning("%s holds %d logos instead of %d: sending all again", collection.name, held, sent)
            for first in range(0, len(ids), _IDS_AT_ONCE):
                self._upsert(collection, ids[first : first + _IDS_AT_ONCE])
            held = self._patient.count(collection.name)
        if held >= sent:
            return
        logger.warning("%s holds %d of %d logos: sending the others again", collection.name, held, sent)
        self._upsert(collection, self._patient.wait_for(lambda: self._searched(collection, 1).absent(ids)))
        held = self._patient.count(collection.name)
        if held < sent:
            raise IndexBuildError(f"{collection.name} holds only {held} of the {sent} logos that were sent to it")

    def _upsert(self, collection: Collection, ids: NDArray[np.int64]) -> None:
        self._patient.wait_for(lambda: upsert(self._milvus, collection, ids, self._source, in_build=True))

    def _measure(self, collection: Collection, truth: Truth, logos: int) -> Recall | None:
        kind = IndexKind.of(collection.record.kind, logos)
        return self._patient.wait_for(
            lambda: tune(truth, lambda effort: self._searched(collection, effort), kind.least, kind.most)
        )

    def _switch(self, collection: Collection, moment: Mark) -> Collection:
        """Send what was stored meanwhile, and switch services to the collection."""
        self._bring_up(collection, moment)  # most of it before others have to wait for the outbox
        with self._outbox.turn(wait=True):
            mark = self._bring_up(collection, moment)
            held = self._patient.count(collection.name)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            record = replace(collection.record, items=held, built_at=now)
            self._patient.wait_for(lambda: collections.write_record(self._milvus, collection.name, record))
            self._patient.wait_for(lambda: self._point(collection.name))
            self._outbox.write(collection.name, mark)
        logger.info("the alias %s points at %s, with %d logos", self._alias, collection.name, held)
        return replace(collection, record=record)

    def _bring_up(self, collection: Collection, moment: Mark) -> Mark:
        changes = self._source.since(moment.as_json())
        sends_new = self._only is None or not changes.complete  # if complete, the store was rewritten: new is unknown
        index = self._searched(collection, 1)
        self._patient.wait_for(
            lambda: bring_up(self._milvus, index, changes, self._source, sends_new=sends_new, in_build=True)
        )
        return changes.mark

    def _point(self, name: str) -> None:
        known = collections.aliased(self._milvus, self._alias)
        if known != name:
            self._ask("create_alias" if known is None else "alter_alias", name, self._alias)

    def _searched(self, collection: Collection, effort: int) -> MilvusSearchIndex:
        return MilvusSearchIndex(self._milvus, collection, self._source.vectors, effort)

    def _ask(self, method: str, *args: object) -> Any:
        return self._milvus.call(method, *args, seconds=self._milvus.connection.query_seconds)
