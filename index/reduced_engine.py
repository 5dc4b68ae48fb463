"""The engine of large indexes: trees over a few principal components, and distances measured on the vectors themselves.

A query goes through three sieves, each finer and dearer than the one before:

1.  Annoy, over the first components, gives `COARSE` candidates or more, as far as it inspects so many;
2.  the 8-bit records of the candidates rank them by an estimate of the distance;
3.  the vectors of the best few are had from wherever they are kept, and measured.

So only distances that were measured are answered, and the vectors, by far the largest part, need not be in memory: a
query looks at a few hundred of them. One that cannot be had is left out.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.annoy.engine import AnnoyTrees, Effort, in_order
from index.errors import IndexDamagedError, VectorUnavailableError
from index.files.logo_ids import IndexedLogos
from index.files.manifest import BIN_NAME, RECORDS_NAME
from index.files.verification import VerifiedFiles
from index.protocol import Neighbours, Vectors
from index.reduction import Reduction, record_bytes
from index.vectors import as_query, usable_rows

COARSE = 1000
"""Candidates that are ranked by their records.

With 62,400 logos, 300 lose six of the nearest hundred, and 2,000 or 4,000 find no more; with 4.4 million, 1,000 lose
one or two of them that 4,000 find, and none of the nearest ten."""

_COARSE_A_NEIGHBOUR = 10
_MEASURED = 40, 1.3  # vectors that are measured: so many, and so many a neighbour
_WIDENED = 3  # times that a search is made four times as wide, if too many of the vectors cannot be had


class ReducedSearchIndex(IndexedLogos):
    """An index whose trees are grown over principal components; `of` makes one.

    Args:
        trees: the loaded trees.
        records: (n, bytes) of each item; see `Reduction.records`.
        files: what was verified of the index.
        reduction: that the records were made by.
        vectors: gives the vectors of logos.
    """

    def __init__(
        self,
        trees: AnnoyTrees,
        records: NDArray[np.uint8],
        files: VerifiedFiles,
        reduction: Reduction,
        vectors: Vectors,
    ) -> None:
        self.trees = trees.count
        self.recall = files.recall
        self.built_at = files.built_at
        self._trees = trees
        self._records = records
        self._logo_ids = files.logo_ids
        self._reduction = reduction
        self._vectors = vectors

    @classmethod
    def of(cls, directory: Path, files: VerifiedFiles, effort: Effort, vectors: Vectors) -> ReducedSearchIndex:
        """Map files that were verified.

        Raises:
            IndexDamagedError: they are not those of a reduced index, or were replaced meanwhile.
        """
        if files.reduction is None:
            raise IndexDamagedError(f"{directory} holds no reduced index")
        trees = AnnoyTrees(directory / BIN_NAME, files, effort)
        records = _mapped(directory / RECORDS_NAME, len(files.logo_ids), record_bytes(files.reduction.code_dim))
        return cls(trees, records, files, files.reduction, vectors)

    @property
    def dim(self) -> int:
        """The number of values of a vector."""
        return self._reduction.dim

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Answer the `count` nearest logos to an indexed one: itself first, at distance 0."""
        item = self._logo_ids.item_of(logo_id)
        vector = self._vectors(np.array([logo_id]))[0]
        if not usable_rows(vector[np.newaxis])[0]:
            raise VectorUnavailableError(f"the vector of logo {logo_id} cannot be read, or is not stored any more")
        items, distances = self._search(vector, count)
        # Duplicates of its vector may stand before it, and an approximate search may have missed it.
        others = items != item
        return Neighbours(
            [logo_id, *self._logo_ids.of_items(items[others][: count - 1])],
            [0.0, *distances[others][: count - 1].tolist()],
        )

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Answer the `count` nearest logos to a `(dim,)` float32 vector."""
        items, distances = self._search(as_query(vector, self.dim), count)
        return Neighbours(self._logo_ids.of_items(items[:count]), distances[:count].tolist())

    def _search(self, query: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Answer items and their distances, in order: `count` or more, unless fewer can be had."""
        reduced = self._reduction.project(query)
        coarse, measured = max(COARSE, _COARSE_A_NEIGHBOUR * count), int(_MEASURED[0] + _MEASURED[1] * count)
        for _ in range(1 + _WIDENED):
            items, _distances = self._trees.search(
                self._trees.annoy.get_nns_by_vector, reduced[: self._reduction.tree_dim].tolist(), count, coarse
            )
            if measured < len(items):
                estimates = self._reduction.estimates(reduced, self._records.take(items, axis=0))
                items = items[np.argpartition(estimates, measured)[:measured]]
            nearest = self._measure(query, items)
            if len(nearest[0]) >= count or len(items) >= len(self):
                break
            coarse, measured = 4 * coarse, 4 * measured
        return nearest

    def _measure(
        self, query: NDArray[np.float32], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        differences = self._vectors(np.array(self._logo_ids.of_items(items), np.int64))
        differences -= query
        squares = np.einsum("ij,ij->i", differences, differences)
        return in_order(items, np.sqrt(squares).astype(np.float64))


def _mapped(path: Path, rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """Map a file that was just read through; what is looked at now are single rows."""
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        content.madvise(mmap.MADV_RANDOM)
    except (OSError, ValueError) as error:
        raise IndexDamagedError(f"{path} cannot be loaded: {error}") from error
    if len(content) != rows * row_bytes:
        raise IndexDamagedError(f"{path} was replaced while it was read")
    return np.frombuffer(content, np.uint8).reshape(rows, row_bytes)
