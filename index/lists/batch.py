"""Search for several logos at once: their queries share the work of each sieve, and all processors."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from index.protocol import Neighbours
from index.wrapper import IndexWrapper

Answer = TypeVar("Answer")

_AT_ONCE = 16  # queries that a thread searches for together, at most
_FEWEST = 4  # for fewer, waking a thread costs more than it saves


def in_threads(search: Callable[[NDArray[np.float32]], list[Answer]], queries: NDArray[np.float32]) -> list[Answer]:
    """Search for parts of `(n, dim)` queries in parallel, and return the results in order."""
    parts = min(_processors(), len(queries) // _FEWEST)
    if parts < 2 and len(queries) <= _AT_ONCE:
        return search(queries) if len(queries) else []
    parts = max(parts, -(-len(queries) // _AT_ONCE))
    return [answer for found in _threads().map(search, np.array_split(queries, parts)) for answer in found]


@cache
def _processors() -> int:
    return len(os.sched_getaffinity(0))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_processors(), "batch-search")


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Prefetched(IndexWrapper):
    """An index with the results for some logos.

    Attributes:
        index: answers all else.
        count: of neighbours that were searched for.
        found: by the logos' ids.
    """

    count: int
    found: dict[int, Neighbours]

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the stored result, or search."""
        found = self.found.get(logo_id) if count == self.count else None
        return self.index.nearest_to_logo(logo_id, count) if found is None else found

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Search: results are stored only for logos."""
        return self.index.nearest_to_vector(vector, count)
