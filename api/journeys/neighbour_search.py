"""The query journey: a logo id, or a vector, to its nearest logos.

A logo that the index holds is looked up there; one that is only stored is looked up by its stored
vector, so it is found as soon as it was added, and is not among its own neighbours. Nor is it among those of others
until the index holds it, unless stored logos are searched beside the index (`unindexed.py`). A deleted logo is in no
answer, although the index holds it until it is built again.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.journeys.stages import UNOBSERVED, Stage, Stages
from api.journeys.unindexed import UnindexedLogos
from embeddings.errors import DamagedRowError
from embeddings.store.store import EmbeddingStore
from index.errors import UnusableVectorError, VectorUnavailableError
from index.protocol import Catalog, Neighbours, SearchIndex

logger = logging.getLogger(__name__)

_RANDOM_TRIES = 100  # before an index of deleted logos counts as empty


@dataclass(frozen=True, slots=True)
class NeighbourSearch:
    """Neighbours by logo id or vector, from any index of the catalog.

    Every method takes the name of an index (`None` is the default one) and raises
    `UnknownIndexError` or `IndexUnavailableError` of the index room. `stages` is told of each search.
    """

    store: EmbeddingStore
    catalog: Catalog
    unindexed: UnindexedLogos | None = None
    stages: Stages = UNOBSERVED

    def of_logo(self, logo_id: int, count: int, index_name: str | None) -> Neighbours | None:
        """Answer the nearest logos to a known one; `None` if neither index nor store know it.

        Raises:
            DamagedRowError: its stored vector is damaged, or no distance can be computed from it.
        """
        with self.stages.measure(Stage.SEARCH):
            return self._of_logo(self.catalog.get(index_name), logo_id, count)

    def of_logos(self, logo_ids: Iterable[int], count: int, index_name: str | None) -> dict[int, Neighbours]:
        """Answer the nearest logos to each known one, in the order given; unknown and damaged ones are left out."""
        index = self.catalog.get(index_name)
        answers, damaged = {}, []
        asked = list(dict.fromkeys(logo_ids))
        with self.stages.measure(Stage.SEARCH):
            deleted = self.store.deleted_among(asked)
            index = index.prefetched([logo_id for logo_id in asked if logo_id not in deleted], count)
            for logo_id in asked:
                try:
                    neighbours = self._of_logo(index, logo_id, count)
                except DamagedRowError as error:  # one bad logo must not keep the others from their answers
                    damaged.append(str(error))
                    continue
                if neighbours is not None:
                    answers[logo_id] = neighbours
        if damaged:
            logger.error("left out of a batch: %s", "; ".join(damaged))
        return answers

    def of_random_logo(self, count: int, index_name: str | None) -> Neighbours | None:
        """Answer the nearest logos to a random one of the index; `None` if the index is empty."""
        index = self.catalog.get(index_name)
        with self.stages.measure(Stage.SEARCH):
            for _ in range(_RANDOM_TRIES):
                logo_id = index.random_logo()
                if logo_id is None:
                    break
                if not self.store.deleted_among([logo_id]):
                    with suppress(VectorUnavailableError, KeyError):
                        return self._nearest_to_logo(index, logo_id, count)
        return None

    def of_vector(self, vector: NDArray[np.floating], count: int, index_name: str | None) -> Neighbours:
        """Answer the nearest logos to a `(dim,)` vector; the search is in float32.

        Raises:
            DimensionError: the vector has another number of values than the index.
            UnusableVectorError: no distance can be computed from it.
        """
        with self.stages.measure(Stage.SEARCH):
            return self._nearest_to_vector(self.catalog.get(index_name), vector, count)

    def _of_logo(self, index: SearchIndex, logo_id: int, count: int) -> Neighbours | None:
        if not self.store.deleted_among([logo_id]):
            with suppress(VectorUnavailableError, KeyError):  # the store says below what is wrong with it
                return self._nearest_to_logo(index, logo_id, count)
        try:
            vector = self.store.get(logo_id)
        except KeyError:
            return None
        try:
            return self._nearest_to_vector(index, vector, count, logo_id=logo_id)
        except UnusableVectorError as error:  # the original's stores may hold vectors that are not finite
            raise DamagedRowError(f"the stored vector of logo {logo_id} cannot be searched for: {error}") from error

    def _nearest_to_logo(self, index: SearchIndex, logo_id: int, count: int) -> Neighbours:
        ask: Callable[[int], Neighbours] = functools.partial(index.nearest_to_logo, logo_id)
        if self.unindexed is not None:
            ask = self.unindexed.beside(index, ask, lambda: self.store.vectors(np.array([logo_id]))[0])
        return self._stored(ask, count)

    def _nearest_to_vector(
        self, index: SearchIndex, vector: NDArray[np.floating], count: int, *, logo_id: int | None = None
    ) -> Neighbours:
        ask: Callable[[int], Neighbours] = functools.partial(index.nearest_to_vector, vector)
        if self.unindexed is not None:
            ask = self.unindexed.beside(index, ask, lambda: vector, logo_id=logo_id)
        return self._stored(ask, count)

    def _stored(self, ask: Callable[[int], Neighbours], count: int) -> Neighbours:
        """Ask an index for neighbours, and for more where some of them are deleted."""
        asked = count
        while True:
            found = ask(asked)
            deleted = self.store.deleted_among(found.logo_ids)
            if not deleted and asked == count:
                return found
            kept = [place for place, logo_id in enumerate(found.logo_ids) if logo_id not in deleted][:count]
            if len(kept) == count or len(found.logo_ids) < asked:
                return Neighbours([found.logo_ids[place] for place in kept], [found.distances[place] for place in kept])
            asked = count + 2 * len(deleted)
