"""Stored logos that are not yet indexed, searched exactly beside an index.

Each query then also scans their vectors. The newest of them stay in memory until a new index holds them, and each query
first reads what any process stored since the last one.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from index.growing import GrowingIndex, Grown
from index.protocol import Neighbours, SearchIndex, Vectors
from index.vectors import usable_rows
from index.wrapper import IndexWrapper

logger = logging.getLogger(__name__)


class UnindexedLogos:
    """The logos of a store that the indexes do not hold. Threads may share it.

    Args:
        store: the logos.
        max_logos: the largest number kept in memory for each index; of more logos, only the newest are searched.
        vectors: returns the vectors of stored logos as the indexes compare them; the store's own by default.
    """

    def __init__(self, store: EmbeddingStore, max_logos: int, vectors: Vectors | None = None) -> None:
        self._store = store
        self._vectors = vectors or store.vectors
        self._max_logos = max_logos
        self._mutex = threading.Lock()
        self._gaps: WeakKeyDictionary[SearchIndex, _Gap] = WeakKeyDictionary()

    def beside(self, index: SearchIndex) -> SearchIndex:
        """Wrap an index so that it also finds the logos that are stored by now and that it does not hold."""
        with self._mutex:
            gap = self._gaps.get(index)
            if gap is None:
                gap = self._gaps[index] = _Gap(self._store, self._max_logos, self._vectors)
        fresh = gap.of(index)
        return WithUnindexed(index, fresh, self._vectors) if len(fresh.ids) else index


@dataclass(frozen=True, slots=True)
class WithUnindexed(IndexWrapper):
    """A `SearchIndex` that also finds logos that another index does not hold. `UnindexedLogos.beside` makes one.

    It differs in two things from an index of all these logos: a logo that is not yet indexed is not among its own
    neighbours, and is never the random one. Both are as without `ANN_SEARCH_UNINDEXED`.

    Attributes:
        index: the other index.
        fresh: the logos that it does not hold.
        vectors: returns the vectors of stored logos.
    """

    fresh: Grown
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.index) + len(self.fresh)

    def __contains__(self, logo_id: int) -> bool:
        return logo_id in self.index or logo_id in self.fresh

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some ids, `(n,)`, that are neither indexed nor stored since, in their order."""
        return self.fresh.absent(self.index.absent(logo_ids))

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to a logo: an indexed one comes first itself, at distance 0."""
        try:
            found = self.index.nearest_to_logo(logo_id, count)
        except KeyError:
            vector = self.fresh.vector(logo_id)
            found = self.index.nearest_to_vector(vector, count)
            return self._merged(found, vector, count, besides=logo_id)
        vector = self.vectors(np.array([logo_id]))[0]
        # Without its vector in the store, only the index can tell what is near.
        return self._merged(found, vector, count) if usable_rows(vector[np.newaxis])[0] else found

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` float32 vector; see `SearchIndex`."""
        return self._merged(self.index.nearest_to_vector(vector, count), vector, count)

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that serves the neighbours of some logos in fewer round trips."""
        return WithUnindexed(self.index.prefetched(logo_ids, count), self.fresh, self.vectors)

    def among(self, index: SearchIndex, logo_ids: NDArray[np.int64]) -> SearchIndex:
        """Return an index of some logos, `(n,)` ascending, given one of those that are indexed."""
        return WithUnindexed(index, self.fresh.among(logo_ids), self.vectors)

    def _merged(
        self, found: Neighbours, vector: NDArray[np.float32], count: int, *, besides: int | None = None
    ) -> Neighbours:
        """Merge what the index found, which comes first where distances are equal, with the nearest of the others."""
        within = found.distances[-1] if len(found.distances) >= count else math.inf
        near = self.fresh.nearest(vector, count + 1, within=within)
        near = near if besides is None else near.without(besides, count)
        ids, distances = [*found.logo_ids, *near.logo_ids], [*found.distances, *near.distances]
        order = np.argsort(distances, kind="stable")[:count].tolist()
        return Neighbours([ids[place] for place in order], [distances[place] for place in order])


class _Gap:
    """The stored logos that one index does not hold."""

    def __init__(self, store: EmbeddingStore, max_logos: int, vectors: Vectors) -> None:
        self._store = store
        self._vectors = vectors
        self._max_logos = max_logos
        self._mutex = threading.Lock()
        self._seen: SeenRows | None = None
        self._growing = GrowingIndex(store.dim, max_logos)
        self._grown = self._growing.grown()
        self._warned = False

    def of(self, index: SearchIndex) -> Grown:
        """Read what was stored since the last call, and return all of them."""
        with self._mutex:
            seen = self._store.seen()
            if self._seen is not None and self._seen.file is not seen.file:
                self._growing = GrowingIndex(self._store.dim, self._max_logos)
                self._grown = self._growing.grown()
                self._seen = None
            if self._seen is None or seen.end > self._seen.end or len(self._seen.pending):
                self._add(index.absent(seen.added_since(self._seen)))
                self._seen = seen
            return self._grown

    def _add(self, ids: NDArray[np.int64]) -> None:
        if not len(ids):
            return
        if len(self._growing) + len(ids) > self._max_logos and not self._warned:
            self._warned = True
            logger.warning(
                "more than %d stored logos are not indexed: queries search the newest of them; run `generate-index`",
                self._max_logos,
            )
        ids = ids[-self._max_logos :]
        vectors = self._vectors(ids)
        good = usable_rows(vectors)  # the store logs the damaged ones
        self._growing.add(ids[good], vectors[good])
        self._grown = self._growing.grown()
