"""Read the codes of some records and multiply them with a query: in C (`ranking.c`), or in NumPy.

In C, that takes a third of the time. `make` compiles the library into the virtual environment, the Dockerfile into the
image; without it, NumPy does the same.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

HEAD = 8
"""Bytes of the two numbers, little-endian float32, that a record begins with (see `index.lists.records`)."""

ZERO = 7.5
"""The code of 0 in half a byte."""

LIBRARY = Path(sys.prefix, "lib", "librobotoff-ann.so")
"""The compiled library: beside the packages of this environment."""

_LARGEST = np.iinfo(np.int16).max
_ROWS_AT_ONCE = 512  # their values, as float32, fit into the processor's own cache


class Reader(Protocol):
    """Reads records, `(n, bytes)`: two numbers, codes in bytes, and codes in half bytes."""

    def first(
        self, records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return the numbers of some records, `(m, 2)`, and the products of a query with their codes in bytes, `(m,)`.

        Args:
            records: of all items.
            items: (m,) contiguous, all of them among the records.
            query: (codes in bytes,) contiguous.
        """

    def others(
        self, records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16]
    ) -> NDArray[np.int32]:
        """Return the products of a query with the codes of some records in half bytes, `(m,)`.

        They are too large by `ZERO` times the query: by the same for all records.

        Args:
            records: their bytes from the half bytes on; rows may lie apart.
            items: as above.
            query: (codes in half bytes,) contiguous.
        """


def whole_numbers(query: NDArray[np.float32]) -> tuple[NDArray[np.int16], float]:
    """Return a query in whole numbers, and what to multiply its products with."""
    largest = float(np.abs(query).max(initial=0.0))
    step = largest / _LARGEST if largest else 1.0
    return np.rint(query / np.float32(step)).astype(np.int16), step


@cache
def reader() -> Reader:
    """Return what reads records: compiled, if it was; else a warning says how to."""
    try:
        return Compiled(LIBRARY)
    except OSError as error:
        logger.warning("queries take longer than they need to: %s; `make run` or `make install` compiles it", error)
        return InNumPy()


class Compiled:
    """A `Reader` that releases the GIL.

    Args:
        library: the compiled `ranking.c`.

    Raises:
        OSError: there is none, or it is not for this machine.
    """

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._first, self._others = loaded.read_first, loaded.read_others
        self._first.argtypes = [pointer, number, pointer, number, pointer, number, pointer, pointer]
        self._others.argtypes = [pointer, number, pointer, number, pointer, number, number, pointer]
        self._first.restype = self._others.restype = None

    def first(
        self, records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """See `Reader`."""
        numbers, products = np.empty((len(items), 2), np.float32), np.empty(len(items), np.int32)
        of_records = records.ctypes.data, records.strides[0], items.ctypes.data, len(items)
        self._first(*of_records, query.ctypes.data, len(query), numbers.ctypes.data, products.ctypes.data)
        return numbers, products

    def others(
        self, records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16]
    ) -> NDArray[np.int32]:
        """See `Reader`."""
        products, lower = np.empty(len(items), np.int32), records.shape[1]
        of_records = records.ctypes.data, records.strides[0], items.ctypes.data, len(items)
        self._others(*of_records, query.ctypes.data, lower, len(query) - lower, products.ctypes.data)
        return products


class InNumPy:
    """A `Reader` that needs nothing compiled."""

    def first(
        self, records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """See `Reader`."""
        rows = records[:, : HEAD + len(query)][items]  # `take` would copy all records first
        numbers = np.ascontiguousarray(rows[:, :HEAD]).view("<f4")
        return numbers, _products(rows[:, HEAD:].view(np.int8), query)

    def others(
        self, records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16]
    ) -> NDArray[np.int32]:
        """See `Reader`."""
        products, lower = np.empty(len(items), np.int32), records.shape[1]
        for start in range(0, len(items), _ROWS_AT_ONCE):
            rows = records[items[start : start + _ROWS_AT_ONCE]]
            upper = rows[:, : len(query) - lower] >> 4
            products[start : start + len(rows)] = _products(rows & 15, query[:lower]) + _products(upper, query[lower:])
        return products


def _products(codes: NDArray[np.integer], query: NDArray[np.int16]) -> NDArray[np.int32]:
    products: NDArray[np.int32] = np.rint(codes.astype(np.float32) @ query.astype(np.float32)).astype(np.int32)
    return products
