"""A copy of the vectors, mapped, in an index of so few logos that it costs little.

Reading rows from the store would take most of a query. The copy is measured in place, in one call that releases the
GIL. After the vectors, in item order, come their checksums, compared only for vectors that are returned. A checksum is
the sum of a vector's bytes, read as integers: it takes a fifth of the time of a CRC-32.
"""

from __future__ import annotations

import logging
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, sync_file
from index.errors import IndexDamagedError
from index.lists.codes import import_faiss
from index.lists.rows import Measured
from index.protocol import Vectors

logger = logging.getLogger(__name__)

COPIED_BELOW = 200_000
"""Logos below which an index holds a copy: at most 1 GB for vectors of 1280 values."""

_ROWS_AT_ONCE = 4096
_CHECKSUM_BYTES = 8


def file_bytes(items: int, dim: int) -> int:
    """Return the bytes of the file."""
    return items * (4 * dim + _CHECKSUM_BYTES)


def write_vectors(path: Path, vectors: Vectors, logo_ids: NDArray[np.int64]) -> None:
    """Write the vectors of logos, `(n,)`, and sync the file; one that is damaged or not stored is a row of NaN."""
    checksums = np.empty(len(logo_ids), "<u8")
    with path.open("wb") as file:
        for start in range(0, len(logo_ids), _ROWS_AT_ONCE):
            rows = np.ascontiguousarray(vectors(logo_ids[start : start + _ROWS_AT_ONCE]), "<f4")
            checksums[start : start + len(rows)] = _sums(_words(rows))
            file.write(rows.data)
        file.write(checksums.data)
    sync_file(path, mode=READABLE)


class VectorsFile:
    """The vectors of an index. Threads may share it.

    Args:
        path: what `write_vectors` wrote, just read through.
        items: how many vectors it must hold.
        dim: the number of values in a vector.

    Raises:
        IndexDamagedError: it cannot be mapped, or has another size.
    """

    def __init__(self, path: Path, items: int, dim: int) -> None:
        try:
            with path.open("rb") as file:
                # Populated: otherwise the first query for each vector takes a page fault.
                flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
                content = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise IndexDamagedError(f"{path} cannot be loaded: {error}") from error
        if len(content) != file_bytes(items, dim):
            raise IndexDamagedError(f"{path} was replaced while it was read")
        self._path = path
        self._vectors = np.frombuffer(content, "<f4", items * dim).reshape(items, dim)
        self._words = _words(self._vectors)
        self._checksums = np.frombuffer(content, "<u8", offset=4 * items * dim)
        self._faiss: Any = import_faiss()
        self._told = False

    def vector(self, item: int) -> NDArray[np.float32] | None:
        """Return the vector of an item, `(dim,)` and read-only; `None` if it is damaged."""
        return self._vectors[item] if self._sound(np.array([item]))[0] else None

    def measure(self, query: NDArray[np.float32], items: NDArray[np.int64]) -> Measured:
        """Measure the distances from a `(dim,)` query to the vectors of items, `(n,)`."""
        pointer = self._faiss.swig_ptr
        squares = np.empty(len(items), np.float32)
        query, items = np.ascontiguousarray(query), np.ascontiguousarray(items)
        self._faiss.omp_set_num_threads(1)  # for this thread: others search beside it
        self._faiss.fvec_L2sqr_by_idx(
            pointer(squares), pointer(query), pointer(self._vectors), pointer(items), len(query), 1, len(items)
        )
        return Measured(squares, lambda places: self._sound(items[places]))

    def _sound(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        sound: NDArray[np.bool_] = _sums(self._words.take(items, axis=0)) == self._checksums[items]
        if not sound.all() and not self._told:
            self._told = True
            logger.error("%s is damaged: damaged vectors are left out of results; see `verify`", self._path)
        return sound


def _words(vectors: NDArray[np.float32]) -> NDArray[np.unsignedinteger]:
    """Return vectors as integers of 8 bytes, or of 4 if there is an odd number of values."""
    return vectors.view("<u4" if vectors.shape[1] % 2 else "<u8")


def _sums(words: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Return the checksums of vectors: their sums, inverted, so that a file of zeros has none that is right."""
    sums: NDArray[np.unsignedinteger] = ~words.sum(axis=1, dtype=words.dtype)
    return sums
