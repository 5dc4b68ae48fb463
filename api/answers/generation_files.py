"""What a kind of file beside the indexes says, each read and checked once and then kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")

_KEPT = 8  # contents, of a few MB each at most


class GenerationFiles(Generic[Content]):
    """Reads files of generations and keeps the last few. Threads may share it.

    A file is added to its generation after the index is already served. So each request for it checks whether it has
    changed; searches never do.

    Args:
        stamp: returns what differs once the file of a generation has changed.
        read: reads the file of a generation; it may be missing or damaged.
    """

    def __init__(self, stamp: Callable[[Path], object], read: Callable[[Path], Content]) -> None:
        self._stamp = stamp
        self._read = read
        self._mutex = threading.Lock()
        self._known: OrderedDict[Path, tuple[object, Content]] = OrderedDict()

    def of(self, generation: Path) -> Content:
        """Return what the file of a generation says."""
        with self._mutex:
            stamp = self._stamp(generation)
            known = self._known.get(generation)
            if known is None or known[0] != stamp:
                known = self._known[generation] = stamp, self._read(generation)
            self._known.move_to_end(generation)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return known[1]
