"""Read the codes of some records and multiply them with a query: in C (`ranking.c`), or in NumPy.

In C, that takes less than half of the time. `make` compiles the library into the virtual environment, the Dockerfile
into the image; without it, NumPy does the same.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

BRACKET = 4
"""Bytes of the bracket, a little-endian float32, that a record begins with (see `index.lists.records`)."""

ZERO = 7.5
"""The code of 0 in half a byte."""

LIBRARY = Path(sys.prefix, "lib", "librobotoff-ann.so")
"""The compiled library: beside the packages of this environment."""

_LARGEST = np.iinfo(np.int16).max
_ROWS_AT_ONCE = 512  # their values, as float32, fit into the processor's own cache

Read = tuple[NDArray[np.float32], NDArray[np.int32]]
"""The brackets, (m,), and the products, (m,), of some records."""

Reader = Callable[[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int16], int], Read]


def whole_numbers(query: NDArray[np.float32]) -> tuple[NDArray[np.int16], float]:
    """Return a query in whole numbers, and what to multiply its products with."""
    largest = float(np.abs(query).max(initial=0.0))
    step = largest / _LARGEST if largest else 1.0
    return np.rint(query / np.float32(step)).astype(np.int16), step


def read_records(records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16], in_bytes: int) -> Read:
    """Return the brackets of some records, and the products of a query with their codes.

    A product is too large by `ZERO` times the components in half bytes: by the same for all records.

    Args:
        records: (n, bytes) of all items.
        items: (m,) the records to read.
        query: (components,) as `whole_numbers` returns it.
        in_bytes: how many components are in bytes; the others are in half bytes.

    Raises:
        IndexError: an item is not among the records.
    """
    if len(items) and not 0 <= items.min() <= items.max() < len(records):
        raise IndexError(f"there are {len(records)} records, and the items are {items.min()} to {items.max()}")
    return reader()(records, np.ascontiguousarray(items), query, in_bytes)


@cache
def reader() -> Reader:
    """Return what reads records: compiled, if it was; else a warning says how to."""
    try:
        return compiled(LIBRARY)
    except OSError as error:
        logger.warning("queries take longer than they need to: %s; `make run` or `make install` compiles it", error)
        return in_numpy


def compiled(library: Path) -> Reader:
    """Load a compiled `ranking.c`; its function releases the GIL.

    Raises:
        OSError: there is none, or it is not for this machine.
    """
    function = ctypes.CDLL(str(library)).read_records
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer, number, pointer, number, pointer, number, number, number, pointer, pointer]
    function.restype = None

    def read(records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16], in_bytes: int) -> Read:
        row_bytes = records.shape[1]
        lower = row_bytes - BRACKET - in_bytes
        brackets, products = np.empty(len(items), np.float32), np.empty(len(items), np.int32)
        address, to_read, multiplied, first, second = (
            array.ctypes.data for array in (records, items, query, brackets, products)
        )
        upper = len(query) - in_bytes - lower
        function(address, row_bytes, to_read, len(items), multiplied, in_bytes, lower, upper, first, second)
        return brackets, products

    return read


def in_numpy(records: NDArray[np.uint8], items: NDArray[np.int64], query: NDArray[np.int16], in_bytes: int) -> Read:
    """Do what the compiled reader does."""
    values = query.astype(np.float32)
    brackets, products = np.empty(len(items), np.float32), np.zeros(len(items), np.int32)
    for start in range(0, len(items), _ROWS_AT_ONCE):
        rows = records[items[start : start + _ROWS_AT_ONCE]]  # `take` would copy all records first
        stop = start + len(rows)
        brackets[start:stop] = np.ascontiguousarray(rows[:, :BRACKET]).view("<f4")[:, 0]
        for codes, columns in _codes(rows, in_bytes, len(query)):
            products[start:stop] += np.rint(codes.astype(np.float32) @ values[columns]).astype(np.int32)
    return brackets, products


def _codes(rows: NDArray[np.uint8], in_bytes: int, components: int) -> Iterator[tuple[NDArray[np.generic], slice]]:
    """Yield the codes in records, `(n, k)` integers, and their components."""
    packed = rows[:, BRACKET + in_bytes :]
    upper = in_bytes + packed.shape[1]
    yield rows[:, BRACKET : BRACKET + in_bytes].view(np.int8), slice(in_bytes)
    yield packed & 15, slice(in_bytes, upper)
    yield packed[:, : components - upper] >> 4, slice(upper, components)
