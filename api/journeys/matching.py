"""An index of only the logos that match a filter: some engines mask the others out, else a scan, or the index itself.

An index of lists searches only the logos of a mask, and Milvus those of an expression (`SelectiveIndex`). Where the
engine has neither, or says that it would not help, this is the rule: for `count` matching logos, the index is asked for
so many that enough of them should match, and each of these neighbours costs as much as scanning some vectors. If the
matching logos are no more than could be scanned in that time, they are scanned, which is exact. They are also scanned
if the index returns too few that match, because those lie far from what is searched for. So there are `count` results
whenever the index holds so many matching logos.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from api.journeys.logo_attributes import LogoAttributes
from api.journeys.unindexed import WithUnindexed
from embeddings.attributes.filters import Condition
from embeddings.attributes.limits import AttributeLimits
from index.errors import VectorUnavailableError
from index.exact import ExactIndex
from index.protocol import Neighbours, SearchIndex, SelectiveIndex, Vectors
from index.vectors import check_count, usable_rows

_SCANNED_KEPT = 32  # vectors in memory that are scanned in the time that an index takes for one neighbour, at least
_SCANNED_READ = 8  # the same for vectors that are read from the store first
_SELECTED_KEPT = 64  # filters; a mask takes a bit for each logo
_BLOCK = 4096  # vectors scanned at once
_RANDOM_TRIES = 20  # before all that match are looked up

Exact = Callable[[NDArray[np.int64], NDArray[np.float32]], SearchIndex]
"""Makes an exact index of ids (n,) and vectors (n, dim)."""


class Matching:
    """A `SearchIndex` of those logos of another index that match a filter. `Filters.over` makes one.

    Args:
        index: the other index.
        ids: of all logos that match, (n,), ascending; the index need not hold them.
        blocks: returns exact indexes that hold those of the matching logos together that the index holds.
        vectors: returns the vectors of stored logos.
        scanned: number of vectors that are scanned in the time that the index needs for one neighbour.
    """

    def __init__(
        self,
        index: SearchIndex,
        ids: NDArray[np.int64],
        blocks: Callable[[], Iterator[SearchIndex]],
        vectors: Vectors,
        *,
        scanned: int,
    ) -> None:
        self._index = index
        self._ids = ids
        self._blocks = blocks
        self._vectors = vectors
        self._scanned = scanned

    @property
    def dim(self) -> int:
        """The number of values of a vector."""
        return self._index.dim

    def __len__(self) -> int:
        """Return how many logos match, at most: some may not be indexed."""
        return min(len(self._ids), len(self._index))

    def __contains__(self, logo_id: int) -> bool:
        return self._matches([logo_id])[0] and logo_id in self._index

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some ids, `(n,)`, that do not match or are not indexed, in their order."""
        there = np.isin(logo_ids, self._index.absent(logo_ids), invert=True) & np.array(self._matches(logo_ids), bool)
        absent: NDArray[np.int64] = logo_ids[~there]
        return absent

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest matching logos to one of them; see `SearchIndex`. Any other is a `KeyError`."""
        if not self._matches([logo_id])[0]:
            raise KeyError(logo_id)
        return self._searched(
            lambda index, wanted: index.nearest_to_logo(logo_id, wanted), count, lambda: self._scan_for(logo_id, count)
        )

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest matching logos to a `(dim,)` float32 vector; see `SearchIndex`."""
        return self._searched(
            lambda index, wanted: index.nearest_to_vector(vector, wanted), count, lambda: self._scan(vector, count)
        )

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that serves the neighbours of some logos in fewer round trips."""
        wanted = self._wanted(count)
        if self._is_scan(wanted):
            return self
        matching = [logo_id for logo_id, is_one in zip(logo_ids, self._matches(logo_ids), strict=True) if is_one]
        prefetched = self._index.prefetched(matching, wanted)
        return Matching(prefetched, self._ids, self._blocks, self._vectors, scanned=self._scanned)

    def random_logo(self) -> int | None:
        """Return the id of any indexed logo that matches; `None` if there is none."""
        for _ in range(_RANDOM_TRIES if len(self._ids) else 0):
            logo_id = int(self._ids[secrets.randbelow(len(self._ids))])
            if logo_id in self._index:
                return logo_id
        indexed = self._ids[~np.isin(self._ids, self._index.absent(self._ids))]
        return int(indexed[secrets.randbelow(len(indexed))]) if len(indexed) else None

    def _searched(
        self, search: Callable[[SearchIndex, int], Neighbours], count: int, scan: Callable[[], Neighbours]
    ) -> Neighbours:
        check_count(count)
        wanted = self._wanted(count)
        if self._is_scan(wanted):
            return scan()
        found = search(self._index, wanted)
        places = np.flatnonzero(self._matches(found.logo_ids))[:count].tolist()
        if len(places) < count:
            return scan()
        return Neighbours([found.logo_ids[place] for place in places], [found.distances[place] for place in places])

    def _wanted(self, count: int) -> int:
        """Return how many neighbours the index is asked for, so that `count` of them should match.

        Three standard deviations more than `count` are expected to match, as if matching logos lay evenly.
        """
        return math.ceil((count + 3 * math.sqrt(count) + 3) * len(self._index) / max(1, len(self._ids)))

    def _is_scan(self, wanted: int) -> bool:
        return len(self._ids) <= self._scanned * wanted

    def _scan_for(self, logo_id: int, count: int) -> Neighbours:
        if logo_id not in self._index:
            raise KeyError(logo_id)
        vector = self._vectors(np.array([logo_id]))[0]
        if not usable_rows(vector[np.newaxis])[0]:
            raise VectorUnavailableError(f"the vector of logo {logo_id} is damaged, or no longer stored")
        return self._scan(vector, count, first=logo_id)

    def _scan(self, vector: NDArray[np.float32], count: int, *, first: int | None = None) -> Neighbours:
        """Return the nearest logos of all blocks; `first` comes before others at the same distance."""
        best: list[tuple[float, bool, int]] = []
        for block in self._blocks():
            found = block.nearest_to_vector(vector, count + (first is not None))
            best += [
                (distance, logo_id != first, logo_id)
                for logo_id, distance in zip(found.logo_ids, found.distances, strict=True)
            ]
            best = sorted(best)[: count + (first is not None)]
        if first is not None and best and all(logo_id != first for _, _, logo_id in best):
            best.insert(0, (0.0, False, first))  # more than `count` logos have its vector
        return Neighbours([row[2] for row in best[:count]], [row[0] for row in best[:count]])

    def _matches(self, logo_ids: Sequence[int] | NDArray[np.int64]) -> list[bool]:
        if not len(self._ids):
            return [False] * len(logo_ids)
        if not isinstance(logo_ids, np.ndarray):
            logo_ids = [logo_id if 0 < logo_id < 2**63 else 0 for logo_id in logo_ids]  # requests may name any number
        asked = np.asarray(logo_ids, np.int64)
        places = np.minimum(self._ids.searchsorted(asked), len(self._ids) - 1)
        flags: list[bool] = (self._ids[places] == asked).tolist()
        return flags


@dataclass(frozen=True, slots=True)
class _Selected:
    """The engine's index of the logos that match, and what it was made of; `None` if the engine makes none."""

    built: ref[SearchIndex]
    ids: NDArray[np.int64]
    index: SearchIndex | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Exact indexes of the logos that match, and what they were made from."""

    built: ref[SearchIndex]
    ids: NDArray[np.int64]
    moment: object
    blocks: list[SearchIndex]
    logos: int


class Filters:
    """Makes indexes of the logos that match filters. Threads may share it.

    The vectors of rare values stay in memory until an attribute or a vector changes.

    Args:
        attributes: of the logos.
        vectors: returns the vectors that are compared.
        exact: makes the indexes that scan.
        max_kept: number of vectors kept for all filters together; the least recently used are dropped first.
    """

    def __init__(
        self,
        attributes: LogoAttributes,
        vectors: Vectors,
        *,
        exact: Exact = ExactIndex,
        max_kept: int = 1 << 14,
    ) -> None:
        self._attributes = attributes
        self._vectors = vectors
        self._exact = exact
        self._max_kept = max_kept
        self._mutex = threading.Lock()
        self._prepared: OrderedDict[tuple[Condition, ...], _Prepared] = OrderedDict()
        self._selected: OrderedDict[tuple[Condition, ...], _Selected] = OrderedDict()

    @property
    def limits(self) -> AttributeLimits:
        """Which attributes may be set, and so named."""
        return self._attributes.limits

    def over(
        self, index: SearchIndex, conditions: tuple[Condition, ...], *, built: SearchIndex, moment: object
    ) -> SearchIndex:
        """Return an index of those logos of another one for which all conditions hold.

        Args:
            index: the other index.
            conditions: at least one.
            built: the index without the logos stored since its build; vectors and masks are kept for it.
            moment: what differs once a vector is stored or replaced, taken before the indexes were.
        """
        ids = self._attributes.matching(conditions)
        selected = self._select(conditions, ids, built)
        if selected is not None:
            return index.among(selected, ids) if isinstance(index, WithUnindexed) else selected
        scanned = _SCANNED_KEPT if len(ids) <= self._max_kept else _SCANNED_READ
        return Matching(
            index, ids, lambda: self._blocks(index, conditions, ids, built, moment), self._vectors, scanned=scanned
        )

    def _select(
        self, conditions: tuple[Condition, ...], ids: NDArray[np.int64], built: SearchIndex
    ) -> SearchIndex | None:
        """Return the engine's own index of the logos that match, kept until others do, or another index is loaded."""
        if not isinstance(built, SelectiveIndex):
            return None
        known = self._selected.get(conditions)
        if known is None or known.built() is not built or known.ids is not ids:
            known = _Selected(ref(built), ids, built.among(ids))
        with self._mutex:
            self._selected[conditions] = known
            self._selected.move_to_end(conditions)
            while len(self._selected) > _SELECTED_KEPT:
                self._selected.popitem(last=False)
        return known.index

    def _blocks(
        self,
        index: SearchIndex,
        conditions: tuple[Condition, ...],
        ids: NDArray[np.int64],
        built: SearchIndex,
        moment: object,
    ) -> Iterator[SearchIndex]:
        if len(ids) > self._max_kept:
            yield from self._read(index, ids)
            return
        known = self._prepared.get(conditions)
        if known is None or known.built() is not built or known.ids is not ids or known.moment != moment:
            known = _Prepared(ref(built), ids, moment, [*self._read(index, ids)], len(ids))
        with self._mutex:
            self._prepared[conditions] = known
            self._prepared.move_to_end(conditions)
            kept = sum(prepared.logos for prepared in self._prepared.values())
            while kept > self._max_kept:
                kept -= self._prepared.popitem(last=False)[1].logos
        yield from known.blocks

    def _read(self, index: SearchIndex, ids: NDArray[np.int64]) -> Iterator[SearchIndex]:
        for first in range(0, len(ids), _BLOCK):
            block = ids[first : first + _BLOCK]
            block = block[~np.isin(block, index.absent(block))]
            vectors = self._vectors(block)
            good = usable_rows(vectors)
            if good.any():
                yield self._exact(block[good], vectors[good])
