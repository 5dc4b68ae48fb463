"""Services that start at once and are killed while they create the store, or migrate the original's."""

from __future__ import annotations

import io
from functools import cache, partial

import h5py
import numpy as np

from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.store_path import draft_path, inspect
from torture.expectation import STAMP, vectors_of
from torture.kill_children import ASKS, DONE, Record, Tell, Work
from torture.kill_writers import DIM, Stage

_ORIGINAL_IDS = range(1, 301)


class Creating(Stage):
    """Nothing is there; each child that starts makes sure of the store, and then writes."""

    name = "create"
    children = 6
    rows = -1  # one round
    answering = 1 / 3
    span = 0.1

    def begin(self) -> None:
        """Leave creating the store, and its directory, to the children."""
        self.path = self.home / "data" / self.path.name

    def works(self) -> list[Work]:
        """Return what services do."""
        return [partial(self.start, number, work) for number, work in enumerate(super().works())]

    def start(self, number: int, work: Work, tell: Tell) -> None:
        """Start, and then write."""
        tell(Record(ASKS, number))
        self.prepare()
        tell(Record(DONE, number))
        work(tell)

    def prepare(self) -> None:
        """Prepare the store, as a service does at its start."""
        prepare_store(self.path, capacity=self.capacity, dim=DIM, stamp=STAMP)

    def judge(self) -> list[str]:
        """Judge what the dead children left, and start once more."""
        if wrong := self.judge_left():
            return wrong
        self.prepare()
        return super().judge()

    def judge_left(self) -> list[str]:
        """Return what is wrong before the next start."""
        if self.path.exists():
            return self.expectation.losses(self.path)
        return ["a service has started, and there is no store"] if self.answered else []

    def strangers(self, *also: str) -> list[str]:
        """Return the files that nobody should have made; a second name of the store is harmless."""
        return super().strangers(draft_path(self.path).name, *also)


class Migrating(Creating):
    """A file of the original is there; each child that starts makes sure that it is migrated, and then writes."""

    name = "migrate"

    def begin(self) -> None:
        """Put a file of the original into place."""
        self.path.write_bytes(_original())
        self.expectation.stored.update(_ORIGINAL_IDS)
        self.expectation.bare.update(_ORIGINAL_IDS)

    def judge_left(self) -> list[str]:
        """Return what is wrong before the next start."""
        layout = inspect(self.path)
        if layout is None:
            return ["the original is gone"]
        if layout.offsets is not None:
            return self.expectation.losses(self.path)
        if self.answered:
            return ["a service has started, and the original is where the store should be"]
        return [] if self.path.read_bytes() == _original() else ["the original was changed"]

    def strangers(self, *also: str) -> list[str]:
        """Return what is wrong beside the store: the original must be there once, unchanged."""
        kept = self.path.with_name("s.original.hdf5")
        if not kept.exists() or kept.read_bytes() != _original():
            return ["the original was not kept"]
        if draft_path(self.path).exists():
            return ["a start left a draft behind"]
        return super().strangers(kept.name, *also)


@cache
def _original() -> bytes:
    """Return a store file like the original's: chunked, without checksums."""
    content = io.BytesIO()
    with h5py.File(content, "w") as hdf5:
        rows, capacity = len(_ORIGINAL_IDS), len(_ORIGINAL_IDS) + 50
        embeddings = hdf5.create_dataset("embedding", (capacity, DIM), "f", chunks=(20, 3))
        embeddings[:rows] = vectors_of(_ORIGINAL_IDS, DIM)
        hdf5.create_dataset("external_id", (capacity,), "i", chunks=True)[:rows] = np.array(_ORIGINAL_IDS)
    return content.getvalue()
