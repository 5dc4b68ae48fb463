"""Vectors rounded to 8 bits a value, to rule out those that are far from a query without reading them.

A row is the nearest whole number of steps from a centre in each value, and how far the vector is from that point. By
the triangle inequality, two vectors are at least as far apart as their points, less how far each is from its own. So
whatever is ruled out is truly farther, and a scan reads a quarter of the bytes.

faiss compares the points in whole numbers, several values an instruction. It truncates the query, so a query is rounded
before, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.lists.codes import import_faiss
from index.lists.records import SMALLEST_STEP

_LARGEST = 127
_ZERO = 128  # the code of no step
_CLIPPED = 1e-5  # of the values are beyond the largest code: with fewer, the others are rounded more than they need be
_LOOSE = 0.01  # of the vectors are farther from their points than all others
_CHOSEN_BY = 1024  # vectors that centre, step and usual error are chosen by: spread over all
_BLOCK_VALUES = 2**20


class RoundedVectors:
    """Room for rounded vectors. One thread at a time may `put`; others may search what was put before.

    Args:
        vectors: (n, dim), n at least 1, that are put into the first rows.
        rows: the room.
    """

    def __init__(self, vectors: NDArray[np.float32], rows: int) -> None:
        faiss, dim = import_faiss(), vectors.shape[1]
        self._faiss = faiss
        self._quantizer: Any = faiss.ScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit_direct_signed)
        some = vectors[:: -(-len(vectors) // _CHOSEN_BY)]
        self._centre = some.mean(axis=0, dtype=np.float64)
        deviations = np.abs(some - self._centre)
        self._step = max(float(np.quantile(deviations, 1 - _CLIPPED)) / _LARGEST, SMALLEST_STEP)
        self._usual = float(np.quantile(self._rounded(some)[1], 1 - _LOOSE))
        self._codes = np.empty((rows, dim), np.uint8)
        self._numbers = np.arange(rows, dtype=np.int64)
        self._errors = np.zeros(rows)  # how far a vector is from its point
        self.put(0, vectors)

    def put(self, first: int, vectors: NDArray[np.float32]) -> None:
        """Put `(n, dim)` vectors into the rows from `first` on."""
        for place in range(0, len(vectors), step := max(1, _BLOCK_VALUES // vectors.shape[1])):
            points, errors = self._rounded(vectors[place : place + step])
            rows = slice(first + place, first + place + len(points))
            self._codes[rows], self._errors[rows] = points + _ZERO, errors

    def nearer(self, query: NDArray[np.float32], rows: int, distance: float) -> NDArray[np.int64]:
        """Return which of the first `rows` may be at most `distance` from a `(dim,)` query, ascending."""
        (point,), (error,) = self._rounded(query[np.newaxis])
        point = point.astype(np.float32)
        faiss, dim = self._faiss, len(query)
        rounding = dim * 2.0**-23  # of a sum of squares in float32
        reach = (distance + error + self._usual) / self._step
        scanner = self._quantizer.select_InvertedListScanner(faiss.METRIC_L2, None, False, None, False)
        scanner.set_query(faiss.swig_ptr(point))
        scanner.set_list(0, 0.0)
        found = faiss.RangeSearchResult(1)
        part = faiss.RangeSearchPartialResult(found)
        scanner.scan_codes_range(
            rows,
            faiss.swig_ptr(self._codes),
            faiss.swig_ptr(self._numbers),
            min(reach * reach * (1 + rounding) + 1, float(np.finfo(np.float32).max)),
            part.new_result(0),
        )
        part.finalize()
        count = int(faiss.rev_swig_ptr(found.lims, 2)[1])
        near = faiss.rev_swig_ptr(found.labels, count).copy() if count else np.zeros(0, np.int64)
        loose = np.flatnonzero(self._errors[:rows] > self._usual)
        return np.union1d(near, loose)

    def _rounded(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the points of `(n, dim)` vectors, in steps, and how far, `(n,)`, the vectors are from them."""
        steps = (vectors - self._centre) / self._step
        points = np.clip(np.rint(steps), -_LARGEST, _LARGEST)
        steps -= points
        errors = self._step * np.sqrt(np.einsum("ij,ij->i", steps, steps)) * (1 + 2.0**-40)
        return points, errors
