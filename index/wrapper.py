"""A search index that passes on to another what it does not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.protocol import SearchIndex


@dataclass(frozen=True, slots=True)
class IndexWrapper:
    """The part of a `SearchIndex` that another one answers. A subclass adds the searches.

    One that changes what is found must also wrap what `prefetched` returns, which is the other index's.

    Attributes:
        index: the other index.
    """

    index: SearchIndex

    @property
    def dim(self) -> int:
        """The number of values in a vector."""
        return self.index.dim

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, logo_id: int) -> bool:
        return logo_id in self.index

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of `(n,)` that are not indexed, in their order."""
        return self.index.absent(logo_ids)

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that serves the neighbours of some logos in fewer round trips."""
        return self.index.prefetched(logo_ids, count)

    def random_logo(self) -> int | None:
        """Return the id of some indexed logo; `None` if there is none."""
        return self.index.random_logo()
