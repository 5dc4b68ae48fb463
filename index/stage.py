"""The parts of a build: their progress, and those that may fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

Stage = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows the progress of a part of a build. It is called with a description of the part and its number of steps, and
yields a function to call with the number of steps just done."""


@contextmanager
def may_fail(directory: Path, what: str) -> Iterator[None]:
    """Let a part fail without which an index is served, too: the log says what its directory lacks."""
    try:
        yield
    except Exception:
        logger.exception("%s has no %s; the next build makes one", directory, what)
