"""Milvus, waited for: a build outlives its restarts, and the hours that it may take to index and to load."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from index.errors import EngineError, EngineUnreachableError, IndexBuildError
from index.milvus import collections
from index.milvus.client import Milvus

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE_SECONDS = 1.0
_REFUSAL_SECONDS = 60.0  # of a Milvus that answers, but refuses, as one does that is just starting
_TELL_SECONDS = 60.0  # between two lines of the log that say the same


class PatientMilvus:
    """A connection whose calls are tried again as long as Milvus is away.

    Args:
        milvus: the connection.
        patience_seconds: how long to wait for a Milvus that is away, or does not get on.
    """

    def __init__(self, milvus: Milvus, patience_seconds: float) -> None:
        self._milvus = milvus
        self._patience_seconds = patience_seconds

    def wait_for(self, act: Callable[[], T]) -> T:
        """Do something with Milvus, again and again until it is done.

        Raises:
            EngineError: Milvus was away too long, or refuses.
        """
        began, told = time.monotonic(), -_TELL_SECONDS
        while True:
            try:
                return act()
            except EngineError as error:
                limit = self._patience_seconds
                if not isinstance(error, EngineUnreachableError):
                    limit = min(limit, _REFUSAL_SECONDS)
                waited = time.monotonic() - began
                if waited > limit:
                    raise
                if waited - told >= _TELL_SECONDS:
                    logger.warning("%s; tried again for %.0f s more", error, limit - waited)
                    told = waited
            self.pause()

    def pause(self) -> None:
        """Let a second pass before Milvus is asked again."""
        time.sleep(_PAUSE_SECONDS)

    def call(self, method: str, *args: object, seconds: float | None = None, **options: object) -> Any:
        """Call a method of the client, as `Milvus.call` does; by default it may take as long as a query."""
        limit = self._milvus.connection.query_seconds if seconds is None else seconds
        return self.wait_for(lambda: self._milvus.call(method, *args, seconds=limit, **options))

    def count(self, name: str) -> int:
        """Answer how many logos a collection holds, the last ones too."""
        seconds = self._milvus.connection.query_seconds
        return self.wait_for(lambda: collections.count(self._milvus, name, seconds=seconds, strong=True))

    def seal_and_index(self, name: str) -> None:
        """Have Milvus seal and index what a collection was sent.

        Raises:
            IndexBuildError: it cannot, or does not get on with it.
        """
        self.call("flush", name, seconds=self._patience_seconds)
        seen, since, told = None, time.monotonic(), -_TELL_SECONDS
        while True:
            state = self.call("describe_index", name, "embedding")
            if state["state"] == "Failed":
                raise IndexBuildError(f"Milvus cannot index {name}: {state}")
            if state["state"] == "Finished" and not int(state["pending_index_rows"]):
                return
            now = time.monotonic()
            if state != seen:
                seen, since, told = state, now, -_TELL_SECONDS
            if now - since > self._patience_seconds:
                raise IndexBuildError(f"Milvus does not get on with indexing {name}: {state}")
            if now - told >= _TELL_SECONDS:
                told = now
                so_long = f", as they did {now - since:.0f} s ago" if now > since else ""
                logger.info("%s logos wait to be indexed%s", state["pending_index_rows"], so_long)
            self.pause()

    def load(self, name: str, replicas: int) -> None:
        """Have Milvus read a collection into memory, however long that takes, as long as it gets on.

        Raises:
            IndexBuildError: it does not.
        """
        state, seen, since = "NotLoad", None, time.monotonic()
        while state != "Loaded":
            if state == "NotLoad":  # or not any more, after a restart
                self.call("load_collection", name, replica_number=replicas, _async=True)
            look = self.call("get_load_state", name)
            state = look["state"].name
            if look != seen:
                seen, since = look, time.monotonic()
                if state != "Loaded":
                    logger.info("%s %% of %s are in memory", look.get("progress", 0), name)
            elif time.monotonic() - since > self._patience_seconds:
                raise IndexBuildError(f"Milvus does not get on with reading {name} into memory: {look}")
            else:
                self.pause()
