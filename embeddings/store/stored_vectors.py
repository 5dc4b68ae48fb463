"""The embeddings of any logos of a store, read row by row: what a query measures distances on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embeddings.store.store_file import StoreFile


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Call it with ids, (n,), for the embeddings, (n, dim); one that is not stored, or damaged, is a row of NaN.

    One that another process has just deleted may still be among them. A damaged one is logged, once.

    Attributes:
        find: returns the open file of the store, and the row of each logo, -1 if it has none.
        tell: is told the ids of damaged logos.
    """

    find: Callable[[NDArray[np.int64]], tuple[StoreFile, NDArray[np.int64]]]
    tell: Callable[[list[int]], None]

    def __call__(self, logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return embeddings, each held against its checksum."""
        rows = self.unchecked(logo_ids)
        rows.vectors[~rows.sound(np.arange(len(logo_ids)))] = np.nan
        return rows.vectors

    def unchecked(self, logo_ids: NDArray[np.int64]) -> UncheckedRows:
        """Return embeddings whose checksums are still to be compared."""
        file, rows = self.find(logo_ids)
        return UncheckedRows(file, rows, logo_ids, file.unchecked(rows), self.tell)


@dataclass(frozen=True, slots=True)
class UncheckedRows:
    """Rows of a store, as they were read.

    Attributes:
        file: the store.
        rows: (n,) where they are; -1 for a logo that is not stored.
        logo_ids: (n,)
        vectors: (n, dim); NaN for one that is not stored, or cannot be read.
        tell: is told the ids of damaged logos.
    """

    file: StoreFile
    rows: NDArray[np.int64]
    logo_ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    tell: Callable[[list[int]], None]

    def sound(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of the rows at some places, (m,), agree with their checksums; damaged ones are told."""
        whole = self.file.agree(self.rows, self.logo_ids, self.vectors, places)
        if not whole.all():
            damaged = places[~whole]
            self.tell(self.logo_ids[damaged[self.rows[damaged] >= 0]].tolist())
        return whole
