"""The walk over all logos that a build makes: each vector becomes an item of Annoy, and whatever else is kept of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Self

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from index.errors import IndexBuildError
from index.logo_ids import LogoIds
from index.manifest import RECORDS_NAME
from index.recall import Truth
from index.reduction import Reduction
from index.vectors import MAX_LENGTH, usable_rows

logger = logging.getLogger(__name__)


class Items:
    """Takes in the logos of an index, in the order that its items have.

    A vector that no distance can be computed from is left out.

    Args:
        annoy: is given the vectors, or their first components.
        directory: where `index.records` is written.
        dim: the number of values of a vector.
        reduction: `None` leaves the vectors as they are.
        truth: looks at all vectors, too; `None` if nobody is going to measure.
    """

    def __init__(
        self, annoy: AnnoyIndex, directory: Path, dim: int, reduction: Reduction | None, truth: Truth | None
    ) -> None:
        self._annoy = annoy
        self._dim = dim
        self._reduction = reduction
        self._truth = truth
        self._records = None if reduction is None else (directory / RECORDS_NAME).open("wb")
        self._added: list[NDArray[np.int64]] = []
        self._items = self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._records is not None:
            self._records.close()

    def add(self, logo_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Take in ids `(m,)` and vectors `(m, dim)`.

        Raises:
            IndexBuildError: the shapes do not match.
            OSError: the records cannot be written.
        """
        if vectors.shape != (len(logo_ids), self._dim):
            raise IndexBuildError(
                f"{len(logo_ids)} ids do not match vectors of shape {vectors.shape}; dim is {self._dim}"
            )
        usable = usable_rows(vectors)
        self._read += len(logo_ids)
        if not usable.all():
            logo_ids, vectors = logo_ids[usable], vectors[usable]
        if not len(logo_ids):
            return
        vectors = np.asarray(vectors, np.float32)
        if self._truth is not None:
            self._truth.take_in(logo_ids, vectors)
        if self._reduction is not None and self._records is not None:
            projected = self._reduction.project(vectors)
            self._records.write(self._reduction.records(vectors, projected).data)
            vectors = np.ascontiguousarray(projected[:, : self._reduction.tree_dim])
        for item, vector in enumerate(vectors, start=self._items):
            self._annoy.add_item(item, vector.data)  # measured: a memoryview is taken in twice as fast as an array
        self._added.append(logo_ids)
        self._items += len(logo_ids)

    def logo_ids(self) -> LogoIds:
        """Answer the ids of all items.

        Raises:
            IndexBuildError: there are none, or one is not positive or there twice.
        """
        if self._items < self._read:
            logger.warning(
                "%d vectors are left out: not finite, or longer than %.2g", self._read - self._items, MAX_LENGTH
            )
        if not self._items:
            raise IndexBuildError("nothing to index")
        try:
            return LogoIds(np.concatenate(self._added))
        except ValueError as error:
            raise IndexBuildError(str(error)) from error
