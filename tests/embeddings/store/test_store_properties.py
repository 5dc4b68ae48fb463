"""The store answers like a dict, whatever is done to it, and whichever process does it."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from numpy.typing import NDArray

from embeddings.errors import StoreError, StoreFullError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.layout import ModelStamp
from embeddings.store.snapshot import Snapshot
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from tests.properties import examples
from tests.waiting import PATIENCE

DIM, CAPACITY = 3, 24
IDS = [*range(1, 16), 2**31 - 1, 2**32 + 3, 2**63 - 1]

batches = st.lists(st.sampled_from(IDS), max_size=6)
versions = st.integers(0, 3)


def embedding(logo_id: int, version: int) -> NDArray[np.float32]:
    """Return one of the embeddings, (DIM,), that a logo may be stored with."""
    values: NDArray[np.float32] = np.sin(np.arange(1, DIM + 1) * (logo_id % 1009 + 1) + version).astype(np.float32)
    return values


def embeddings(ids: list[int], version: int) -> NDArray[np.float32]:
    return np.array([embedding(logo_id, version) for logo_id in ids], np.float32).reshape(len(ids), DIM)


def do(store: EmbeddingStore, action: str, ids: list[int], version: int) -> list[int] | str:
    """Append to a store, replace in it or delete from it, and return the ids, or the name of the error."""
    try:
        if action == "delete":
            return store.delete(ids)
        return store.append(ids, embeddings(ids, version), replace=action == "replace")
    except StoreError as error:
        return type(error).__name__


def obey(orders: Connection) -> None:
    """Be another process, with a store open: do what comes through the connection, and answer."""
    store: EmbeddingStore | None = None
    with suppress(EOFError):
        while True:
            action, path, *of_action = orders.recv()
            if action == "open":
                store = EmbeddingStore(path)
                orders.send([])
            elif action == "compact":
                orders.send(rewrite_store(path).rows)
            else:
                assert store is not None
                orders.send(do(store, action, *of_action))


@pytest.fixture
def another_process() -> Iterator[None]:
    context = multiprocessing.get_context("forkserver")
    orders, of_child = context.Pipe()
    child = context.Process(target=obey, args=(of_child,))
    child.start()
    of_child.close()
    StoreMachine.other_process = orders
    yield
    orders.close()
    child.join()
    assert child.exitcode == 0


class StoreMachine(RuleBasedStateMachine):
    """Holds a store against a dict; `here` and in another process."""

    snapshots: Bundle[tuple[Snapshot, dict[int, int]]] = Bundle("snapshots")

    other_process: ClassVar[Connection]

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name, "s.hdf5")
        self.stored: dict[int, int] = {}  # the version of each logo, in the order they were stored
        self.deleted: set[int] = set()
        self.used = 0
        self.capacity = CAPACITY

    @initialize()
    def make(self) -> None:
        create_store(self.path, capacity=CAPACITY, dim=DIM, stamp=ModelStamp("a", "digest"))
        self.here = EmbeddingStore(self.path)
        self.order("open")

    @rule(ids=batches, version=versions, here=st.booleans())
    def append(self, ids: list[int], version: int, here: bool) -> None:
        new = [logo_id for logo_id in dict.fromkeys(ids) if logo_id not in self.stored]
        fits = self.used + len(new) <= self.capacity
        assert self.change(here, "append", ids, version) == (new if fits else StoreFullError.__name__)
        if fits:
            self.stored |= dict.fromkeys(new, version)
            self.used += len(new)

    @rule(ids=batches, version=versions, here=st.booleans())
    def replace(self, ids: list[int], version: int, here: bool) -> None:
        ids = [*dict.fromkeys(ids)]
        new = [logo_id for logo_id in ids if logo_id not in self.stored]
        fits = self.used + len(ids) <= self.capacity
        assert self.change(here, "replace", ids, version) == (new if fits else StoreFullError.__name__)
        if fits:
            for logo_id in ids:
                self.stored.pop(logo_id, None)
                self.stored[logo_id] = version
            self.used += len(ids)

    @rule(ids=batches, here=st.booleans())
    def delete(self, ids: list[int], here: bool) -> None:
        known = [logo_id for logo_id in dict.fromkeys(ids) if logo_id in self.stored]
        assert self.change(here, "delete", ids, 0) == known
        self.deleted.update(known)
        for logo_id in known:
            del self.stored[logo_id]

    @rule(here=st.booleans())
    def reopen(self, here: bool) -> None:
        if here:
            self.here.close()
            self.here = EmbeddingStore(self.path)
        else:
            self.order("open")

    @rule(here=st.booleans())
    def compact(self, here: bool) -> None:
        rows = rewrite_store(self.path).rows if here else self.order("compact")
        assert rows == len(self.stored)
        self.used = len(self.stored)

    @rule(rows=st.integers(0, 10))
    def grow_or_shrink_as_far_as_it_goes(self, rows: int) -> None:
        self.capacity = max(1, len(self.stored) + rows)
        assert rewrite_store(self.path, capacity=self.capacity).capacity == self.capacity
        self.used = len(self.stored)

    @rule(ids=st.lists(st.sampled_from([0, -1, 2**63, 5]), min_size=1, max_size=3).filter(lambda ids: set(ids) != {5}))
    def append_what_is_no_id(self, ids: list[int]) -> None:
        with pytest.raises(ValueError, match="a logo id"):
            self.here.append(ids, embeddings(ids, 0))

    @rule(target=snapshots)
    def take_a_snapshot(self) -> tuple[Snapshot, dict[int, int]]:
        return self.here.snapshot(), dict(self.stored)

    @rule(taken=snapshots, rows=st.integers(1, 5))
    def read_a_snapshot(self, taken: tuple[Snapshot, dict[int, int]], rows: int) -> None:
        snapshot, stored = taken
        blocks = [*snapshot.blocks(rows)]
        assert [logo_id for ids, _ in blocks for logo_id in ids.tolist()] == [*stored]
        for ids, vectors in blocks:
            assert np.array_equal(vectors, [embedding(logo_id, stored[logo_id]) for logo_id in ids.tolist()])
        assert snapshot.damaged == 0

    @invariant()
    def the_store_answers_like_the_dict(self) -> None:
        # First what asks for some logos, because what asks for all of them looks at the file.
        for logo_id, version in reversed(self.stored.items()):
            assert np.array_equal(self.here.get(logo_id), embedding(logo_id, version))
        absent = [logo_id for logo_id in IDS if logo_id not in self.stored]
        assert [logo_id for logo_id in IDS if logo_id not in self.here] == self.here.missing(IDS) == absent
        due = embeddings([*self.stored], 0)
        for row, (logo_id, version) in enumerate(self.stored.items()):
            due[row] = embedding(logo_id, version)
        assert np.array_equal(self.here.vectors(np.array([*self.stored], np.int64)), due)
        assert self.here.ids().tolist() == [*self.stored]
        assert [logo_id for ids in self.here.stored_ids().blocks() for logo_id in ids.tolist()] == [*self.stored]
        assert len(self.here) == len(self.stored)
        assert self.here.deleted_among(IDS) == self.deleted - set(self.stored)
        assert [*self.here.verify()] == []

    def change(self, here: bool, action: str, ids: list[int], version: int) -> object:
        return do(self.here, action, ids, version) if here else self.order(action, ids, version)

    def order(self, action: str, *of_action: Any) -> Any:
        self.other_process.send((action, self.path, *of_action))
        assert self.other_process.poll(PATIENCE)
        return self.other_process.recv()

    def teardown(self) -> None:
        if hasattr(self, "here"):
            self.here.close()
        self.directory.cleanup()


@pytest.mark.usefixtures("another_process")
def test_a_store_answers_like_a_dict_to_all_processes() -> None:
    run_state_machine_as_test(StoreMachine, settings=examples(25, steps=25))
