"""Leave out the neighbours beyond a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.protocol import Neighbours, SearchIndex
from index.wrapper import IndexWrapper


@dataclass(frozen=True, slots=True)
class Within(IndexWrapper):
    """A `SearchIndex` that leaves out neighbours beyond a distance.

    Attributes:
        index: the index to search.
        max_distance: the largest distance.
    """

    max_distance: float

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return those of the `count` nearest logos to an indexed one that are near enough; see `SearchIndex`."""
        return self._near(self.index.nearest_to_logo(logo_id, count))

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return those of the `count` nearest logos to a `(dim,)` vector that are near enough; see `SearchIndex`."""
        return self._near(self.index.nearest_to_vector(vector, count))

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that serves the neighbours of some logos in fewer round trips."""
        return Within(self.index.prefetched(logo_ids, count), self.max_distance)

    def _near(self, found: Neighbours) -> Neighbours:
        kept = sum(distance <= self.max_distance for distance in found.distances)
        return Neighbours(found.logo_ids[:kept], found.distances[:kept])
