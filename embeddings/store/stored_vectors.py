"""Read the embeddings of any logos of a store, for queries that measure distances on them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embeddings.store.layout import ID_BYTES
from embeddings.store.store_file import StoreFile


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Returns the embeddings of logos, (n, dim), with a row of NaN for one that is not stored, or damaged.

    Call it with their ids, (n,). A logo that another process has just deleted may still be included. A damaged one is
    logged once.

    Attributes:
        find: returns the open file of the store, and the row of each logo, -1 if it has none.
        tell: called with the ids of damaged logos.
    """

    find: Callable[[NDArray[np.int64]], tuple[StoreFile, NDArray[np.int64]]]
    tell: Callable[[list[int]], None]

    def __call__(self, logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return embeddings, each compared with its checksum."""
        return self.unchecked(logo_ids).checked()

    def unchecked(self, logo_ids: NDArray[np.int64]) -> UncheckedRows:
        """Return embeddings whose checksums are still to be compared."""
        file, rows = self.find(logo_ids)
        return UncheckedRows(file, rows, logo_ids, self.tell)


class UncheckedRows:
    """Any rows of a store, as they were read.

    Args:
        file: the store.
        rows: (n,) their rows; -1 for a logo that is not stored.
        logo_ids: (n,)
        tell: called with the ids of damaged logos.

    Attributes:
        vectors: (n, dim); a row of NaN where none is stored, or it cannot be read.
    """

    def __init__(
        self,
        file: StoreFile,
        rows: NDArray[np.int64],
        logo_ids: NDArray[np.int64],
        tell: Callable[[list[int]], None] = lambda ids: None,
    ) -> None:
        self.vectors = np.empty((len(rows), file.dim), "<f4")
        content, size = self.vectors.reshape(-1).view(np.uint8).data, 4 * file.dim
        self._places = [content[start : start + size] for start in range(0, len(content), size)]
        self._file, self._rows, self._logo_ids, self._tell = file, rows, logo_ids, tell
        whole = file.read_into(np.maximum(rows, 0), self._places) & (rows >= 0)
        if not whole.all():
            self.vectors[~whole] = np.nan

    def sound(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of the rows at some places, (m,), agree with their checksums; call `tell` with the others."""
        rows, ids, crc32 = self._rows[places], self._logo_ids[places], zlib.crc32
        of_ids = np.ascontiguousarray(ids, "<i8").view(f"V{ID_BYTES}").tolist()
        contents = map(self._places.__getitem__, places.tolist())
        found = [crc32(content, crc32(of_id)) for content, of_id in zip(contents, of_ids, strict=True)]
        same: NDArray[np.bool_] = (np.array(found, np.uint32) == self._file.noted_checksums(rows)) & (rows >= 0)
        if not same.all():
            for place in np.flatnonzero(~same & (rows >= 0)).tolist():  # it may have been written since it was noted
                same[place] = found[place] == self._file.checksum(int(rows[place]))
            self._tell(ids[~same & (rows >= 0)].tolist())
        return same

    def checked(self) -> NDArray[np.float32]:
        """Return the embeddings, (n, dim), with a row of NaN for each that is damaged."""
        self.vectors[~self.sound(np.arange(len(self._rows)))] = np.nan
        return self.vectors
