"""Check which vectors a distance can be computed from.

Engines compute squared Euclidean distances in float32, whose largest value is just below 2^128. Two vectors no longer
than 2^62 are at most 2^63 apart, and the square of that, 2^126, still fits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import DimensionError, UnusableVectorError

MAX_LENGTH = 2.0**62
"""The longest vector (Euclidean norm) that is indexed or searched for."""

_SURELY_SHORT = MAX_LENGTH**2 / 2


def squared_lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the squared Euclidean norms `(n,)` of `(n, dim)` vectors."""
    lengths: NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return lengths


def usable_rows(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of `(n, dim)` vectors are finite and no longer than `MAX_LENGTH`, as `(n,)` flags."""
    with np.errstate(over="ignore", invalid="ignore"):
        usable: NDArray[np.bool_] = np.vecdot(vectors, vectors) < _SURELY_SHORT  # a sixth of the time of the others
    if not usable.all():
        usable[~usable] = squared_lengths(vectors[~usable]) <= MAX_LENGTH**2
    return usable


def as_query(vector: ArrayLike, dim: int) -> NDArray[np.float32]:
    """Return a query vector as `(dim,)` float32.

    Raises:
        DimensionError: the vector has another shape.
        UnusableVectorError: it holds a NaN or an infinity, or is longer than `MAX_LENGTH`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        query = np.asarray(vector, np.float32)
        if query.shape != (dim,):
            raise DimensionError(f"The vector has {query.size} values; {dim} are expected.")
        # A tenth of the time of `usable_rows`, which decides about the longest vectors.
        surely_short = query @ query < _SURELY_SHORT
    if not surely_short and not usable_rows(query[np.newaxis])[0]:
        raise UnusableVectorError(
            f"The vector is not finite, or longer than {MAX_LENGTH:.2g}: distances to it overflow."
        )
    return query


def check_count(count: int) -> None:
    """Raise `ValueError` unless a number of neighbours is at least 1."""
    if count < 1:
        raise ValueError(f"{count} neighbours were requested; at least 1 is needed.")
