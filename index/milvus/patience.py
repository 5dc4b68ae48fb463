"""Wait for Milvus: a build survives its restarts, and the hours that indexing and loading may take."""

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
_REFUSAL_SECONDS = 60.0  # for a Milvus that answers, but refuses, as it does while starting
_TELL_SECONDS = 60.0  # between two log lines that say the same


class PatientMilvus:
    """A connection that repeats its calls while Milvus is away.

    Args:
        milvus: the connection.
        patience_seconds: how long to wait for a Milvus that is away, or makes no progress.
    """

    def __init__(self, milvus: Milvus, patience_seconds: float) -> None:
        self._milvus = milvus
        self._patience_seconds = patience_seconds

    def wait_for(self, act: Callable[[], T]) -> T:
        """Call a function that uses Milvus, and repeat it until it succeeds.

        Raises:
            EngineError: Milvus was away too long, or refused a call.
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
                    logger.warning("%s; trying again for %.0f s more", error, limit - waited)
                    told = waited
            self.pause()

    def pause(self) -> None:
        """Wait a second before the next try."""
        time.sleep(_PAUSE_SECONDS)

    def call(self, method: str, *args: object, seconds: float | None = None, **options: object) -> Any:
        """Call a method of the client, as `Milvus.call` does; the default time limit is that of a query."""
        limit = self._milvus.connection.query_seconds if seconds is None else seconds
        return self.wait_for(lambda: self._milvus.call(method, *args, seconds=limit, **options))

    def count(self, name: str) -> int:
        """Return the number of logos in a collection, including the latest."""
        seconds = self._milvus.connection.query_seconds
        return self.wait_for(lambda: collections.count(self._milvus, name, seconds=seconds, strong=True))

    def seal_and_index(self, name: str) -> None:
        """Let Milvus seal and index what was sent to a collection, and wait for that.

        Raises:
            IndexBuildError: it cannot, or makes no progress.
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
                raise IndexBuildError(f"Milvus makes no progress indexing {name}: {state}")
            if now - told >= _TELL_SECONDS:
                told = now
                so_long = f", unchanged for {now - since:.0f} s" if now > since else ""
                logger.info("%s logos still to be indexed%s", state["pending_index_rows"], so_long)
            self.pause()

    def load(self, name: str, replicas: int) -> None:
        """Let Milvus load a collection into memory, and wait for that as long as it makes progress.

        Raises:
            IndexBuildError: it makes none.
        """
        state, seen, since = "NotLoad", None, time.monotonic()
        while state != "Loaded":
            if state == "NotLoad":  # at the beginning, or after a restart
                self.call("load_collection", name, replica_number=replicas, _async=True)
            look = self.call("get_load_state", name)
            state = look["state"].name
            if look != seen:
                seen, since = look, time.monotonic()
                if state != "Loaded":
                    logger.info("%s %% of %s are in memory", look.get("progress", 0), name)
            elif time.monotonic() - since > self._patience_seconds:
                raise IndexBuildError(f"Milvus makes no progress loading {name} into memory: {look}")
            else:
                self.pause()
