"""Leave deleted logos out of the results of an index, which holds them until it is built again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.protocol import Neighbours, SearchIndex
from index.wrapper import IndexWrapper

_RANDOM_TRIES = 100  # if all of these are deleted logos, the index counts as empty


@dataclass(frozen=True, slots=True)
class WithoutDeleted(IndexWrapper):
    """A `SearchIndex` that finds no deleted logos. It searches for more neighbours to replace the deleted ones.

    Attributes:
        index: the index to search.
        deleted_among: returns which of some ids are deleted.
    """

    deleted_among: Callable[[Collection[int]], set[int]]

    def __len__(self) -> int:
        """Return how many logos the index holds. Deleted ones count, because each would have to be looked up."""
        return len(self.index)

    def __contains__(self, logo_id: int) -> bool:
        return logo_id in self.index and not self.deleted_among([logo_id])

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some ids, `(n,)`, that are deleted or not indexed, in their order."""
        gone = [*self.index.absent(logo_ids).tolist(), *self.deleted_among(logo_ids.tolist())]
        return logo_ids[np.isin(logo_ids, gone)]

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to an indexed one; see `SearchIndex`. A deleted logo is a `KeyError`."""
        if self.deleted_among([logo_id]):
            raise KeyError(logo_id)
        return self._undeleted(lambda wanted: self.index.nearest_to_logo(logo_id, wanted), count)

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` float32 vector; see `SearchIndex`."""
        return self._undeleted(lambda wanted: self.index.nearest_to_vector(vector, wanted), count)

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that serves the neighbours of some logos in fewer round trips."""
        deleted = self.deleted_among(logo_ids)
        left = [logo_id for logo_id in logo_ids if logo_id not in deleted]
        return WithoutDeleted(self.index.prefetched(left, count), self.deleted_among)

    def random_logo(self) -> int | None:
        """Return the id of any indexed logo; `None` if a hundred draws find only deleted ones."""
        for _ in range(_RANDOM_TRIES):
            logo_id = self.index.random_logo()
            if logo_id is None or not self.deleted_among([logo_id]):
                return logo_id
        return None

    def _undeleted(self, search: Callable[[int], Neighbours], count: int) -> Neighbours:
        wanted = count
        while True:
            found = search(wanted)
            deleted = self.deleted_among(found.logo_ids)
            if not deleted and wanted == count:
                return found
            kept = [place for place, logo_id in enumerate(found.logo_ids) if logo_id not in deleted][:count]
            if len(kept) == count or len(found.logo_ids) < wanted:
                return Neighbours([found.logo_ids[place] for place in kept], [found.distances[place] for place in kept])
            wanted = count + 2 * len(deleted)
