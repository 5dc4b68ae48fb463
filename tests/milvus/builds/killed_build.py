"""Builds in child processes that are killed, by SIGKILL, at a call of their choice."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import index.sample
from embeddings.store.store import EmbeddingStore
from index.milvus import patience
from index.milvus.client import ConnectionOptions, Milvus, _imported
from tests.milvus.samples import build


@dataclass(frozen=True, slots=True)
class Death:
    """When a build ends.

    Attributes:
        method: of the client.
        call: the number of the call of it, from 1.
        answered: after Milvus did it; else before.
    """

    method: str
    call: int = 1
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Doomed:
    """A build that is going to be killed."""

    connection: ConnectionOptions
    store_path: Path
    index_dir: Path
    death: Death
    options: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        with EmbeddingStore(self.store_path, writable=False) as store:
            build(MortalMilvus(self.connection, self.death), store, self.index_dir, **self.options)


class MortalMilvus(Milvus):
    """A connection that is the death of its process."""

    def __init__(self, connection: ConnectionOptions, death: Death) -> None:
        super().__init__(connection)
        self._death = death
        self._calls: Counter[str] = Counter()

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        self._calls[method] += 1
        due = (method, self._calls[method]) == (self._death.method, self._death.call)
        if due and not self._death.answered:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = super().call(method, *args, seconds=seconds, **options)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


class Executioner:
    """Runs builds to their deaths, in children of one process that has imported all that takes time to import."""

    def __init__(self, orders: Pipe) -> None:
        self._orders = orders

    def execute(self, doomed: Doomed) -> None:
        """Run a build until it is killed.

        Raises:
            AssertionError: it ended otherwise.
        """
        self._orders.send(doomed)
        status = self._orders.recv()
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the build came to its end, or failed"


@contextmanager
def executioner() -> Iterator[Executioner]:
    """A process to fork builds from."""
    context = multiprocessing.get_context("spawn")
    orders, of_child = context.Pipe()
    child = context.Process(target=_obey, args=(of_child,))
    child.start()
    of_child.close()
    yield Executioner(orders)
    orders.close()
    child.join()
    assert child.exitcode == 0


def _obey(orders: Pipe) -> None:
    _imported()
    patience._PAUSE_SECONDS = 0.05
    setattr(index.sample, "QUERIES", 10)  # noqa: B010 - it is another module's
    with suppress(EOFError):
        while True:
            doomed: Doomed = orders.recv()
            pid = os.fork()
            if pid == 0:
                try:
                    doomed.run()
                finally:
                    os._exit(1)
            orders.send(os.waitpid(pid, 0)[1])
