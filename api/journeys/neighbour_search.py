"""The query journey: from a logo id, or a vector, to the nearest logos.

An indexed logo is searched as an item of the index, any other stored logo by its vector. So a logo can be searched as
soon as it is stored, and is not among its own neighbours until it is indexed. Wrappers around the index add stored
logos that are not yet indexed (`unindexed.py`), and leave out those that do not match (`matching.py`), are deleted
(`without_deleted.py`), or are too far away (`within.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from api.journeys.matching import Filters
from api.journeys.stages import UNOBSERVED, Stage, Stages
from api.journeys.unindexed import UnindexedLogos
from api.journeys.within import Within
from api.journeys.without_deleted import WithoutDeleted
from embeddings.attributes.filters import Condition
from embeddings.attributes.limits import DEFAULT_LIMITS, AttributeLimits
from embeddings.errors import DamagedRowError
from embeddings.store.store import EmbeddingStore
from index.cosine import CosineIndex
from index.errors import UnusableVectorError, VectorUnavailableError
from index.protocol import Catalog, Neighbours, SearchIndex

logger = logging.getLogger(__name__)

_RANDOM_TRIES = 100  # before an index of damaged logos counts as empty


@dataclass(frozen=True, slots=True)
class NeighbourSearch:
    """Neighbours by logo id or vector, from any index of the catalog.

    Every method takes the name of an index (`None` is the default one) and raises `UnknownIndexError` or
    `IndexUnavailableError` of the index room.

    Attributes:
        store: the logos.
        catalog: the indexes.
        unindexed: the logos that are not yet indexed; `None` if they are not searched.
        stages: records the time of each search.
        filters: finds the logos that match.
        where: the conditions that neighbours must meet.
        max_distance: the largest distance of a neighbour.
        cosine: whether the indexes hold vectors at unit length, and distances are 1 - cos.
    """

    store: EmbeddingStore
    catalog: Catalog
    unindexed: UnindexedLogos | None = None
    stages: Stages = UNOBSERVED
    filters: Filters | None = None
    where: tuple[Condition, ...] = ()
    max_distance: float | None = None
    cosine: bool = False

    @property
    def limits(self) -> AttributeLimits:
        """Which attributes a filter may name."""
        return DEFAULT_LIMITS if self.filters is None else self.filters.limits

    def narrowed(self, where: tuple[Condition, ...], max_distance: float | None) -> NeighbourSearch:
        """Return a search of only the logos that match, up to a distance."""
        return replace(self, where=where, max_distance=max_distance) if where or max_distance is not None else self

    def of_logo(
        self, logo_id: int, count: int, index_name: str | None, *, exclude_self: bool = False
    ) -> Neighbours | None:
        """Return the nearest logos to a known one; `None` if neither index nor store know it.

        With `exclude_self`, `count` other logos are returned.

        Raises:
            DamagedRowError: its stored vector is damaged, or no distance can be computed from it.
        """
        with self.stages.measure(Stage.SEARCH):
            return self._of_logo(self._index(index_name), logo_id, count, exclude_self=exclude_self)

    def of_logos(
        self, logo_ids: Iterable[int], count: int, index_name: str | None, *, exclude_self: bool = False
    ) -> dict[int, Neighbours]:
        """Return the nearest logos to each known one, in the order given; unknown and damaged ones are left out."""
        answers, damaged = {}, []
        asked = list(dict.fromkeys(logo_ids))
        with self.stages.measure(Stage.SEARCH):
            index = self._index(index_name).prefetched(asked, count + exclude_self)
            for logo_id in asked:
                try:
                    neighbours = self._of_logo(index, logo_id, count, exclude_self=exclude_self)
                except DamagedRowError as error:  # one damaged logo must not fail the whole batch
                    damaged.append(str(error))
                    continue
                if neighbours is not None:
                    answers[logo_id] = neighbours
        if damaged:
            logger.error("left out of a batch: %s", "; ".join(damaged))
        return answers

    def of_random_logo(self, count: int, index_name: str | None, *, exclude_self: bool = False) -> Neighbours | None:
        """Return the nearest logos to a random one of the index; `None` if the index is empty."""
        with self.stages.measure(Stage.SEARCH):
            index = self._index(index_name)
            for _ in range(_RANDOM_TRIES):
                logo_id = index.random_logo()
                if logo_id is None:
                    break
                with suppress(VectorUnavailableError, KeyError):
                    found = index.nearest_to_logo(logo_id, count + exclude_self)
                    return found.without(logo_id, count) if exclude_self else found
        return None

    def of_vector(self, vector: NDArray[np.floating], count: int, index_name: str | None) -> Neighbours:
        """Return the nearest logos to a `(dim,)` vector; the search is in float32.

        Raises:
            DimensionError: the vector has another number of values than the index.
            UnusableVectorError: no distance can be computed from it.
        """
        with self.stages.measure(Stage.SEARCH):
            with np.errstate(over="ignore"):
                query = np.asarray(vector, np.float32)
            return self._index(index_name).nearest_to_vector(query, count)

    def _index(self, name: str | None) -> SearchIndex:
        moment = self.store.moment() if self.where else None  # before the indexes, which may lack what comes after
        index = built = self.catalog.get(name)
        if self.unindexed is not None:
            index = self.unindexed.beside(index)
        if self.where and self.filters is not None:
            index = self.filters.over(index, self.where, built=built, moment=moment)
        if self.cosine:
            index = CosineIndex(index)
        index = WithoutDeleted(index, self.store.deleted_among)
        return index if self.max_distance is None else Within(index, self.max_distance)

    def _of_logo(
        self, index: SearchIndex, logo_id: int, count: int, *, exclude_self: bool = False
    ) -> Neighbours | None:
        found = self._near_logo(index, logo_id, count + exclude_self)
        return found.without(logo_id, count) if exclude_self and found is not None else found

    def _near_logo(self, index: SearchIndex, logo_id: int, count: int) -> Neighbours | None:
        with suppress(VectorUnavailableError, KeyError):  # the store says below what is wrong with it
            return index.nearest_to_logo(logo_id, count)
        try:
            vector = self.store.get(logo_id)
        except KeyError:
            return None
        try:
            return index.nearest_to_vector(vector, count)
        except UnusableVectorError as error:  # the original's stores may hold vectors that are not finite
            raise DamagedRowError(f"the stored vector of logo {logo_id} cannot be searched for: {error}") from error
