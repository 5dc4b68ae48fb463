"""A collection, with the neighbours of some logos already fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.protocol import Neighbours, SearchIndex
from index.vectors import as_query
from index.wrapper import IndexWrapper


class PunctualIndex(SearchIndex, Protocol):
    """An index whose searches can be given a deadline, on the monotonic clock."""

    def to_logo(self, logo_id: int, count: int, deadline: float) -> Neighbours:
        """Do as `nearest_to_logo`."""

    def to_vector(self, vector: NDArray[np.float32], count: int, deadline: float) -> Neighbours:
        """Do as `nearest_to_vector`."""


@dataclass(frozen=True, slots=True)
class Prefetched(IndexWrapper):
    """An index, with the neighbours of some logos already fetched.

    Attributes:
        index: answers all else.
        count: number of neighbours.
        deadline: for all searches for these logos, on the monotonic clock.
        found: the neighbours of each logo; `None` if the collection lacks it.
        beside: those of vectors, float32, of logos that the collection lacks.
    """

    index: PunctualIndex
    count: int
    deadline: float
    found: dict[int, Neighbours | None]
    beside: dict[bytes, Neighbours]

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the fetched neighbours, or search until the deadline."""
        if count != self.count or logo_id not in self.found:
            return self.index.to_logo(logo_id, count, self.deadline)
        found = self.found[logo_id]
        if found is None:
            raise KeyError(logo_id)
        return found

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the fetched neighbours, or search until the deadline."""
        known = self.beside.get(as_query(vector, self.dim).tobytes()) if count == self.count else None
        return self.index.to_vector(vector, count, self.deadline) if known is None else known
