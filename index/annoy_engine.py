"""The Annoy engine: approximate search in files that are mapped, not read, into memory.

Annoy releases the GIL while it searches, so threads search in parallel. An index that was loaded stays
mapped for as long as anyone holds it: it is never unloaded, which would crash a search under way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from index.errors import IndexDamagedError
from index.logo_ids import LogoIds
from index.manifest import BIN_NAME
from index.protocol import Neighbours
from index.vectors import as_query, check_count
from index.verification import identity, verify_files

Subject = TypeVar("Subject", int, list[float])

SEARCH_K_FLOOR = 100
"""A query for fewer neighbours than this inspects as many candidates as one for this many.

Annoy's own default, `count * trees`, finds ever fewer of the nearest as `count` falls.
"""


class AnnoySearchIndex:
    """An index that is searched through Annoy; `load` makes one.

    Args:
        annoy: the loaded files.
        logo_ids: what its items are.
        trees: how many it has, which Annoy itself counts wrongly for small indexes.
        search_k: candidates to inspect for every query (but at least `count`); `None` stands for
            `max(count, search_k_floor) * trees`.
        search_k_floor: see `SEARCH_K_FLOOR`.
    """

    def __init__(
        self,
        annoy: AnnoyIndex,
        logo_ids: LogoIds,
        trees: int,
        *,
        search_k: int | None = None,
        search_k_floor: int = SEARCH_K_FLOOR,
    ) -> None:
        self.trees = trees
        self._annoy = annoy
        self._logo_ids = logo_ids
        self._search_k = search_k
        self._search_k_floor = search_k_floor
        # Enough to visit every leaf of every tree; Annoy may count the copy of a root as a tree of its own.
        self._everything = min(len(logo_ids) * annoy.get_n_trees(), 2**31 - 1)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        dim: int,
        search_k: int | None = None,
        search_k_floor: int = SEARCH_K_FLOOR,
        weights_digest: str = "",
        digests: bool = False,
    ) -> AnnoySearchIndex:
        """Verify the files of a directory (see `index.verification.verify_files`) and map them.

        Raises:
            IndexDamagedError: the files are missing, broken, or do not belong together.
        """
        files = verify_files(directory, dim=dim, weights_digest=weights_digest, digests=digests)
        path = directory / BIN_NAME
        annoy = AnnoyIndex(dim, "euclidean")
        try:
            annoy.load(str(path))
            loaded = identity(path.stat())
        except OSError as error:
            raise IndexDamagedError(f"{path} cannot be loaded: {error}") from error
        if loaded != files.identity:
            raise IndexDamagedError(f"{path} was replaced while it was read")
        return cls(annoy, files.logo_ids, files.trees, search_k=search_k, search_k_floor=search_k_floor)

    @property
    def dim(self) -> int:
        """The number of values of a vector."""
        return self._annoy.f

    def __len__(self) -> int:
        return len(self._logo_ids)

    def __contains__(self, logo_id: int) -> bool:
        return logo_id in self._logo_ids

    def random_logo(self) -> int | None:
        """Answer the id of any indexed logo; `None` if the index is empty."""
        return self._logo_ids.random()

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Answer the `count` nearest logos to an indexed one: itself first, at distance 0."""
        item = self._logo_ids.item_of(logo_id)
        items, distances = self._search(self._annoy.get_nns_by_item, item, count)
        # Duplicates of its vector may stand before it, and an approximate search may have missed it.
        others = items != item
        return Neighbours(
            [logo_id, *self._logo_ids.of_items(items[others][: count - 1])],
            [0.0, *distances[others][: count - 1].tolist()],
        )

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Answer the `count` nearest logos to a `(dim,)` float32 vector."""
        query = as_query(vector, self.dim).tolist()
        items, distances = self._search(self._annoy.get_nns_by_vector, query, count)
        return Neighbours(self._logo_ids.of_items(items), distances.tolist())

    def _search(
        self,
        nearest: Callable[[Subject, int, int, Literal[True]], tuple[list[int], list[float]]],
        to: Subject,
        count: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        check_count(count)
        count = min(count, len(self))
        if self._search_k is None:
            search_k = max(count, self._search_k_floor) * self.trees
        else:
            search_k = max(count, self._search_k)
        search_k = min(search_k, self._everything)
        items, distances = nearest(to, count, search_k, True)
        while len(items) < count and search_k < self._everything:
            search_k = min(4 * search_k, self._everything)
            items, distances = nearest(to, count, search_k, True)
        return _in_order(np.array(items, np.int64), np.array(distances, np.float64))


def _in_order(
    items: NDArray[np.int64], distances: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order by distance, then item, and leave out what a damaged vector has no distance to.

    Annoy orders by the square of the distance, where two that differ may have the same root.
    """
    order = np.lexsort((items, distances))
    order = order[np.isfinite(distances[order])]
    return items[order], distances[order]
