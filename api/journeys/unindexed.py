"""Stored logos that are not yet indexed, searched exactly beside an index.

A query then takes one more scan, of their vectors. The newest of these are kept in memory until a new index holds them;
each query first reads what any process stored since the last one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from index.exact import ExactIndex
from index.protocol import Neighbours, SearchIndex, Vectors
from index.vectors import usable_rows

logger = logging.getLogger(__name__)

_RECENT = 256  # logos that can be added without preparing the older ones again


class UnindexedLogos:
    """The logos of a store that the indexes do not hold. Threads may share it.

    Args:
        store: the logos.
        max_logos: how many are kept in memory for each index; if there are more, the newest are searched.
    """

    def __init__(self, store: EmbeddingStore, max_logos: int) -> None:
        self._store = store
        self._max_logos = max_logos
        self._mutex = threading.Lock()
        self._gaps: WeakKeyDictionary[SearchIndex, _Gap] = WeakKeyDictionary()

    def beside(self, index: SearchIndex) -> SearchIndex:
        """Wrap an index so that it also finds the logos that are stored by now and that it does not hold."""
        with self._mutex:
            gap = self._gaps.get(index)
            if gap is None:
                gap = self._gaps[index] = _Gap(self._store, self._max_logos)
        parts = tuple(part for part in gap.of(index) if len(part.ids))
        return WithUnindexed(index, parts, self._store.vectors) if parts else index


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the logos that an index does not hold, in the order they were stored.

    Attributes:
        ids: (n,)
        vectors: (n, dim)
        search: both, as an index.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    search: ExactIndex

    @classmethod
    def of(cls, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> Part:
        """Prepare `n` logos and their `(n, dim)` vectors for search."""
        return cls(ids, vectors, ExactIndex(ids, vectors))


@dataclass(frozen=True, slots=True)
class WithUnindexed:
    """A `SearchIndex` that also finds logos that another index does not hold. `UnindexedLogos.beside` makes one.

    It differs in two things from an index of all these logos: a logo that is not yet indexed is not among its own
    neighbours, and is never the random one. Both are as without `ANN_SEARCH_UNINDEXED`.

    Attributes:
        index: the other index.
        parts: the logos that it does not hold; no logo is in two parts.
        vectors: returns the vectors of stored logos.
    """

    index: SearchIndex
    parts: tuple[Part, ...]
    vectors: Vectors

    @property
    def dim(self) -> int:
        """The number of values of a vector."""
        return self.index.dim

    def __len__(self) -> int:
        return len(self.index) + sum(len(part.ids) for part in self.parts)

    def __contains__(self, logo_id: int) -> bool:
        return logo_id in self.index or any(logo_id in part.search for part in self.parts)

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some ids, `(n,)`, that neither the index nor a part holds, in their order."""
        left = self.index.absent(logo_ids)
        for part in self.parts:
            left = part.search.absent(left)
        return left

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to a logo: an indexed one comes first itself, at distance 0."""
        try:
            found = self.index.nearest_to_logo(logo_id, count)
        except KeyError:
            vector = self._vector_of_unindexed(logo_id)
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
        return WithUnindexed(self.index.prefetched(logo_ids, count), self.parts, self.vectors)

    def random_logo(self) -> int | None:
        """Return the id of any logo of the index; `None` if that is empty."""
        return self.index.random_logo()

    def _vector_of_unindexed(self, logo_id: int) -> NDArray[np.float32]:
        for part in self.parts:
            places = np.flatnonzero(part.ids == logo_id)
            if len(places):
                vector: NDArray[np.float32] = part.vectors[places[0]]
                return vector
        raise KeyError(logo_id)

    def _merged(
        self, found: Neighbours, vector: NDArray[np.float32], count: int, *, besides: int | None = None
    ) -> Neighbours:
        """Merge what the index found, which comes first where distances are equal, with the nearest of the parts."""
        ids, distances = [*found.logo_ids], [*found.distances]
        for part in self.parts:
            near = part.search.nearest_to_vector(vector, count + 1)
            for logo_id, distance in zip(near.logo_ids, near.distances, strict=True):
                if logo_id != besides:
                    ids.append(logo_id)
                    distances.append(distance)
        order = np.argsort(distances, kind="stable")[:count].tolist()
        return Neighbours([ids[place] for place in order], [distances[place] for place in order])


class _Gap:
    """The stored logos that one index does not hold: most of them in one part, the newest in a small one."""

    def __init__(self, store: EmbeddingStore, max_logos: int) -> None:
        self._store = store
        self._max_logos = max_logos
        self._max_recent = min(_RECENT, max_logos // 4)
        self._mutex = threading.Lock()
        self._seen: SeenRows | None = None
        self._none = Part.of(np.zeros(0, np.int64), np.zeros((0, store.dim), np.float32))
        self._older = self._recent = self._none
        self._warned = False

    def of(self, index: SearchIndex) -> tuple[Part, Part]:
        """Read what was stored since the last call, and return both parts."""
        with self._mutex:
            seen = self._store.seen()
            if self._seen is not None and self._seen.file is not seen.file:
                self._older = self._recent = self._none
                self._seen = None
            if self._seen is None or seen.end > self._seen.end or len(self._seen.pending):
                self._add(index.absent(seen.added_since(self._seen)))
                self._seen = seen
            return self._older, self._recent

    def _add(self, ids: NDArray[np.int64]) -> None:
        if not len(ids):
            return
        if len(self._older.ids) + len(self._recent.ids) + len(ids) > self._max_logos and not self._warned:
            self._warned = True
            logger.warning(
                "more than %d stored logos are not indexed: queries search the newest of them; run `generate-index`",
                self._max_logos,
            )
        new = self._readable(ids[-self._max_logos :])
        recent = _joined(self._recent, new)
        known_before = np.isin(new[0], self._older.ids).any()  # it was deleted and added again
        if len(recent[0]) <= self._max_recent and not known_before and self._fits(len(recent[0])):
            self._recent = Part.of(*recent)
            return
        ids, vectors = _joined(self._older, recent)
        if len(ids) > self._max_logos:
            kept = slice(self._max_recent - self._max_logos, None)  # which leaves room for recent ones
            ids, vectors = ids[kept].copy(), vectors[kept].copy()
        self._older, self._recent = Part.of(ids, vectors), self._none

    def _fits(self, recent: int) -> bool:
        return len(self._older.ids) + recent <= self._max_logos

    def _readable(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return logos and their vectors, without those that are damaged (logged by the store) or too long."""
        vectors = self._store.vectors(ids)
        good = usable_rows(vectors)
        return ids[good], vectors[good]


def _joined(
    older: Part, newer: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Join logos and their vectors; if a logo is in both, its newer vector counts."""
    ids, vectors = np.concatenate([older.ids, newer[0]]), np.concatenate([older.vectors, newer[1]])
    _, from_the_end = np.unique(ids[::-1], return_index=True)
    rows = np.sort(len(ids) - 1 - from_the_end)
    return (ids, vectors) if len(rows) == len(ids) else (ids[rows], vectors[rows])
