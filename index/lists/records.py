"""Make records, the principal components of logos in 8 bits each, and rank the candidates of a query by them.

The part of a vector outside the components counts too. With c for the codes of x, s for the step between two codes, y
for the components of a query, and w for `LEFTOVER_WEIGHT`:

    |x - y|^2  is about  (|s c|^2 + w leftover of x) - 2 s c.y  and what all x have in common

A record is the bracket, as a float32, and the codes. The components can be recovered from it, except for rounding, and
what the bracket has beyond the first of them, which is their rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.components import Components, usual

SHORT, LONG = 252, 508
"""Number of components in a record: with the bracket, it takes 256 or 512 bytes, whole lines of the cache."""

LONG_FROM = 200_000
"""Number of logos from which records are long: among millions, short ones rank some of the nearest too low."""

LEFTOVER_WEIGHT = np.float32(0.85)
"""Near neighbours have a little in common outside the components, so not all of it is distance (measured)."""

SMALLEST_STEP = float(np.finfo(np.float32).tiny)
"""The smallest step that float32 can represent with full precision."""

_LARGEST_CODE = 127
_CLIPPED = 1e-4  # of the sample's values are beyond the largest code


def record_components(logos: int) -> int:
    """Return how many components the records of an index of this many logos have."""
    return LONG if logos >= LONG_FROM else SHORT


@dataclass(frozen=True, slots=True)
class RecordFormat:
    """How vectors are turned into records.

    Attributes:
        components: the components that vectors are projected on.
        step: the value of one step of a code.
    """

    components: Components
    step: float

    @classmethod
    def fit(cls, sample: NDArray[np.float32], count: int) -> RecordFormat:
        """Choose components, at most `count`, and the step by a sample of vectors, `(n, dim)`."""
        sample = usual(sample)
        components = Components.fit(sample, count)
        largest = np.quantile(np.abs(components.project(sample)), 1 - _CLIPPED)
        return cls(components, max(float(largest) / _LARGEST_CODE, SMALLEST_STEP))

    @property
    def row_bytes(self) -> int:
        """The size of a record in bytes."""
        return 4 + len(self.components)

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the records of `(n, dim)` vectors: `(n, row_bytes)`."""
        centred = vectors - self.components.mean
        projected = np.matmul(centred, self.components.directions.T, dtype=np.float32)
        leftovers = LEFTOVER_WEIGHT * np.maximum(_squares(centred) - _squares(projected), 0)
        codes = np.clip(np.rint(projected / np.float32(self.step)), -_LARGEST_CODE, _LARGEST_CODE)
        brackets = (_squares(codes * np.float32(self.step)) + leftovers).astype("<f4")
        return np.hstack([brackets[:, np.newaxis].view(np.uint8), codes.astype(np.int8).view(np.uint8)])

    def decode(self, records: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        """Return the first `count` components of `(n, row_bytes)` records, `(n, count)`, in 8-bit precision."""
        return records[:, 4 : 4 + count].view(np.int8).astype(np.float32) * np.float32(self.step)

    def rests(self, records: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far, `(n,)`, records are from `(n, count)` points, their first components."""
        brackets = np.ascontiguousarray(records[:, :4]).view("<f4")[:, 0]
        rests: NDArray[np.float32] = np.sqrt(np.maximum(brackets - _squares(points), 0))
        return rests

    def estimates(self, query: NDArray[np.float32], records: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate squared distances, `(n,)`, less a constant, from a query to `(n, row_bytes)` records."""
        brackets = np.ascontiguousarray(records[:, :4]).view("<f4")[:, 0]
        products = records[:, 4:].view(np.int8).astype(np.float32) @ (query * np.float32(2 * self.step))
        estimates: NDArray[np.float32] = brackets - products
        return estimates


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return squares
