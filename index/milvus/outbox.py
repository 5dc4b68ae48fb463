"""How far a collection is in step with the store: `milvus.json` in the directory of an index.

    {"collection": "logos_...", "mark": {...}}    the collection holds all that was stored until then

All ids are compared only if that file is lost, or the collection or the store's file has changed. Sending a logo again
does no harm.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from durable import atomic_write
from index.milvus.logo_source import Mark

logger = logging.getLogger(__name__)

STATE_NAME = "milvus.json"

_LOCK_NAME = ".milvus.lock"


class Outbox:
    """How far a collection is in step with a store, and a lock for the process that updates it.

    Args:
        index_dir: of the index, created if missing.
        name: of the file.
    """

    def __init__(self, index_dir: Path, name: str = STATE_NAME) -> None:
        self._index_dir = index_dir
        self._path = index_dir / name

    def read(self) -> tuple[str, Any] | None:
        """Return the collection, and the mark of what it holds; `None` if unknown."""
        try:
            state = json.loads((self._path).read_bytes())
            return str(state["collection"]), state["mark"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read, so all ids are compared: %s", self._path, error)
            return None

    def write(self, collection: str, mark: Mark) -> None:
        """Store both for the next reader."""
        self._index_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path, alone=True) as file:
            file.write(json.dumps({"collection": collection, "mark": mark.as_json()}).encode())

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def turn(self, *, wait: bool) -> Iterator[bool]:
        """Hold the lock on the outbox and yield True; yield False if another process has it and `wait` is false."""
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
