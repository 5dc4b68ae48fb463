"""The Annoy engine: approximate search in files that are mapped into memory, not read.

Annoy releases the GIL while it searches, so threads search in parallel. A loaded index stays mapped for as long as
anything refers to it. It is never unloaded explicitly, which would crash a running search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from index.errors import IndexDamagedError
from index.files.logo_ids import IndexedLogos
from index.files.manifest import BIN_NAME
from index.files.verification import VerifiedFiles, identity, verify_files
from index.protocol import Neighbours
from index.vectors import as_query, check_count

Subject = TypeVar("Subject", int, list[float])

SEARCH_K_FLOOR = 100
"""A query for fewer neighbours than this inspects as many candidates as one for this many.

Annoy's own default, `count * trees`, finds ever fewer of the nearest as `count` falls.
"""


@dataclass(frozen=True, slots=True)
class Effort:
    """How many candidates Annoy inspects for a query.

    Attributes:
        search_k: the number for every query (but at least `count`), overriding the others; `None` to use those.
        measured: the number that was enough for a hundred neighbours when the index was built; `None` if not measured.
            Queries for more neighbours inspect proportionally more.
        floor: see `SEARCH_K_FLOOR`; each tree of a full index gets at least `max(count, floor)`.
        reduced: whether the index is a reduced one, for which only `measured` counts.
    """

    search_k: int | None = None
    measured: int | None = None
    floor: int = SEARCH_K_FLOOR
    reduced: bool = False

    def candidates(self, count: int, trees: int) -> int:
        """Return the `search_k` for `count` neighbours."""
        if self.search_k is not None:
            return max(count, self.search_k)
        least = count if self.reduced and self.measured is not None else max(count, self.floor) * trees
        measured = self.measured or 0
        return max(least, measured, measured * count // SEARCH_K_FLOOR)


class AnnoyTrees:
    """The trees of an index, mapped into memory.

    Args:
        path: `index.bin`.
        files: its verified files.

    Raises:
        IndexDamagedError: it cannot be loaded, or is not the file that was verified.
    """

    def __init__(self, path: Path, files: VerifiedFiles, effort: Effort) -> None:
        self.annoy = AnnoyIndex(files.tree_dim, "euclidean")
        try:
            self.annoy.load(str(path))
            loaded = identity(path.stat())
        except OSError as error:
            raise IndexDamagedError(f"{path} cannot be loaded: {error}") from error
        if loaded != files.identity:
            raise IndexDamagedError(f"{path} was replaced while it was read")
        self.count = files.trees  # Annoy itself counts them wrongly for small indexes
        self._items = len(files.logo_ids)
        self._effort = effort
        # Enough to visit every leaf of every tree; Annoy may count the copy of a root as a tree of its own.
        self._everything = min(self._items * self.annoy.get_n_trees(), 2**31 - 1)

    def search(
        self,
        nearest: Callable[[Subject, int, int, Literal[True]], tuple[list[int], list[float]]],
        to: Subject,
        count: int,
        candidates: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nearest items, `(count,)` or all there are, and their distances, in Annoy's order.

        Args:
            nearest: a method of `annoy`.
            to: an item or a vector.
            count: number of neighbours needed.
            candidates: number of items to return, if more than `count`.
        """
        check_count(count)
        search_k = min(self._effort.candidates(min(count, self._items), self.count), self._everything)
        wanted = min(max(count, candidates or 0), self._items)
        items, distances = nearest(to, wanted, search_k, True)
        while len(items) < min(count, self._items) and search_k < self._everything:
            search_k = min(4 * search_k, self._everything)
            items, distances = nearest(to, wanted, search_k, True)
        return np.array(items, np.int64), np.array(distances, np.float64)


class AnnoySearchIndex(IndexedLogos):
    """An index whose trees are grown over the vectors themselves; made by `load`.

    Args:
        trees: the loaded trees.
        files: its verified files.
    """

    def __init__(self, trees: AnnoyTrees, files: VerifiedFiles) -> None:
        self.trees = trees.count
        self.recall = files.recall
        self.built_at = files.built_at
        self._trees = trees
        self._logo_ids = files.logo_ids

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
        """Verify the files of a directory (see `index.files.verification.verify_files`) and map them.

        Raises:
            IndexDamagedError: the files are missing, broken, or do not belong together.
        """
        files = verify_files(directory, dim=dim, weights_digest=weights_digest, digests=digests)
        return cls.of(directory, files, Effort(search_k, files.measured_effort, search_k_floor))

    @classmethod
    def of(cls, directory: Path, files: VerifiedFiles, effort: Effort) -> AnnoySearchIndex:
        """Map verified files into memory.

        Raises:
            IndexDamagedError: they belong to a reduced index, or were replaced meanwhile.
        """
        if files.reduction is not None:
            raise IndexDamagedError(f"{directory} holds a reduced index, which is searched with the store at hand")
        return cls(AnnoyTrees(directory / BIN_NAME, files, effort), files)

    @property
    def dim(self) -> int:
        """The number of values in a vector."""
        return self._trees.annoy.f

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to an indexed one: itself first, at distance 0."""
        item = self._logo_ids.item_of(logo_id)
        items, distances = in_order(*self._trees.search(self._trees.annoy.get_nns_by_item, item, count))
        # Duplicates of its vector may come before it, and an approximate search may have missed it.
        others = items != item
        return Neighbours(
            [logo_id, *self._logo_ids.of_items(items[others][: count - 1])],
            [0.0, *distances[others][: count - 1].tolist()],
        )

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` float32 vector."""
        query = as_query(vector, self.dim).tolist()
        items, distances = in_order(*self._trees.search(self._trees.annoy.get_nns_by_vector, query, count))
        return Neighbours(self._logo_ids.of_items(items), distances.tolist())


def in_order(items: NDArray[np.int64], distances: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order by distance, then item, and drop items with damaged vectors, which have no distance.

    Annoy orders by squared distance, where two different squares may have the same root.
    """
    order = np.lexsort((items, distances))
    order = order[np.isfinite(distances[order])]
    return items[order], distances[order]
