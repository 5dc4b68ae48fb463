"""Stored logos that an index does not hold yet, searched beside it, exactly.

A query costs one scan of their vectors more. They are kept in memory, the newest of them, until a new index holds them:
what was stored since the last query, by whatever process, is taken in first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from embeddings.store.seen_rows import SeenRows
from embeddings.store.store import EmbeddingStore
from index.exact import ExactIndex
from index.protocol import Neighbours, SearchIndex
from index.vectors import usable_rows

logger = logging.getLogger(__name__)

Ask = Callable[[int], Neighbours]

_RECENT = 256  # logos that are taken in without those before them being prepared anew


class UnindexedLogos:
    """The logos of a store that the indexes do not hold. Threads may share it.

    Args:
        store: where the logos are.
        max_logos: of each index, for how many vectors there is memory; beyond it the newest are searched.
    """

    def __init__(self, store: EmbeddingStore, max_logos: int) -> None:
        self._store = store
        self._max_logos = max_logos
        self._mutex = threading.Lock()
        self._of_index: WeakKeyDictionary[SearchIndex, _Waiting] = WeakKeyDictionary()

    def beside(
        self, index: SearchIndex, ask: Ask, vector: Callable[[], NDArray[np.floating]], *, logo_id: int | None = None
    ) -> Ask:
        """Return how to ask an index, and the logos that it does not hold, for so many neighbours.

        Args:
            index: the index.
            ask: how to ask the index alone.
            vector: gives what neighbours are asked of, (dim,). Where no distance to it can be computed, the index
                alone is asked.
            logo_id: of the vector; it is not among its neighbours, unless the index says so.
        """
        with self._mutex:
            waiting = self._of_index.get(index)
            if waiting is None:
                waiting = self._of_index[index] = _Waiting(self._store, self._max_logos)
        parts = [part for part in waiting.of(index) if len(part.ids)]
        if not parts:
            return ask
        with np.errstate(over="ignore"):
            query = np.asarray(vector(), np.float32)
        if not usable_rows(query[np.newaxis])[0]:
            return ask

        def ask_both(count: int) -> Neighbours:
            found = [ask(count), *(part.search.nearest_to_vector(query, count + 1) for part in parts)]
            return _nearest_first(found, count, logo_id)

        return ask_both


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of the logos, in the order they were stored."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    search: ExactIndex

    @classmethod
    def of(cls, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> _Part:
        return cls(ids, vectors, ExactIndex(ids, vectors))


class _Waiting:
    """The logos that one index does not hold: most of them in one part, the newest in a small one."""

    def __init__(self, store: EmbeddingStore, max_logos: int) -> None:
        self._store = store
        self._max_logos = max_logos
        self._max_recent = min(_RECENT, max_logos // 4)
        self._mutex = threading.Lock()
        self._seen: SeenRows | None = None
        self._none = _Part.of(np.zeros(0, np.int64), np.zeros((0, store.dim), np.float32))
        self._older = self._recent = self._none
        self._told = False

    def of(self, index: SearchIndex) -> tuple[_Part, _Part]:
        """Take in what was stored since the last time, and return both parts."""
        with self._mutex:
            seen = self._store.seen()
            if self._seen is not None and self._seen.file is not seen.file:
                self._older = self._recent = self._none
                self._seen = None
            if self._seen is None or seen.end > self._seen.end or len(self._seen.pending):
                self._take_in(index.absent(seen.added_since(self._seen)))
                self._seen = seen
            return self._older, self._recent

    def _take_in(self, ids: NDArray[np.int64]) -> None:
        if not len(ids):
            return
        if len(self._older.ids) + len(self._recent.ids) + len(ids) > self._max_logos and not self._told:
            self._told = True
            logger.warning(
                "more than %d stored logos are not indexed: queries search the newest of them; run `generate-index`",
                self._max_logos,
            )
        new = self._readable(ids[-self._max_logos :])
        recent = _joined(self._recent, new)
        known_before = np.isin(new[0], self._older.ids).any()  # it was deleted and added again
        if len(recent[0]) <= self._max_recent and not known_before and self._fits(len(recent[0])):
            self._recent = _Part.of(*recent)
            return
        ids, vectors = _joined(self._older, recent)
        if len(ids) > self._max_logos:
            kept = slice(self._max_recent - self._max_logos, None)  # which leaves room for recent ones
            ids, vectors = ids[kept].copy(), vectors[kept].copy()
        self._older, self._recent = _Part.of(ids, vectors), self._none

    def _fits(self, recent: int) -> bool:
        return len(self._older.ids) + recent <= self._max_logos

    def _readable(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read vectors, and leave out those that are damaged (the store logs them), or that are too long to search."""
        vectors = self._store.vectors(ids)
        good = usable_rows(vectors)
        return ids[good], vectors[good]


def _joined(
    older: _Part, newer: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Join logos and their vectors; of a logo that is there twice the newer vector counts."""
    ids, vectors = np.concatenate([older.ids, newer[0]]), np.concatenate([older.vectors, newer[1]])
    _, from_the_end = np.unique(ids[::-1], return_index=True)
    rows = np.sort(len(ids) - 1 - from_the_end)
    return (ids, vectors) if len(rows) == len(ids) else (ids[rows], vectors[rows])


def _nearest_first(found: list[Neighbours], count: int, besides: int | None) -> Neighbours:
    """Merge the answers of an index, which come first where distances are equal, and of the logos beside it."""
    ids = [*found[0].logo_ids]
    distances = [*found[0].distances]
    for more in found[1:]:
        for logo_id, distance in zip(more.logo_ids, more.distances, strict=True):
            if logo_id != besides:
                ids.append(logo_id)
                distances.append(distance)
    order = np.argsort(distances, kind="stable")[:count].tolist()
    return Neighbours([ids[place] for place in order], [distances[place] for place in order])
