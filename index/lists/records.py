"""Make records, the principal components of logos in 8 or 4 bits each, and rank the candidates of a query by them.

A record is a bracket, as a float32, then the first components in bytes, then others in half bytes: that costs less
precision than to leave half of these out. What is beyond, the leftover, counts too. With x for the components
that a record stands for, and y for those of a query:

    |x - y|^2  is about  (|x|^2 + leftover of the vector) - 2 x.y  and what is the same for all records

The bracket is the one in this formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, sync_file
from index.components import Components, usual
from index.errors import IndexDamagedError
from index.lists.ranking import BRACKET, ZERO, read_records, whole_numbers

FEW, MOST = 440, 1208
"""Number of components in a record: it takes 320 or 704 bytes, whole lines of the cache.

A query's own components take longer to compute than a record to read, so few are better while it is quick to measure
some more vectors, as on the copy that an index of few logos holds."""

MANY = 200_000
"""Number of logos from which records have `MOST` components, and the scan is most of a query (`index.lists.codes`)."""

IN_BYTES = 192
"""Number of components in bytes, the first; they also serve to make centres and codes."""

SMALLEST_STEP = float(np.finfo(np.float32).tiny)
"""The smallest step that float32 can represent with full precision."""

_LARGEST_CODE = 127
_CLIPPED = 1e-4  # of the sample's values are beyond the largest code of a byte
_HALF_RANGE = 3.0  # standard deviations from 0 to the end of the codes of half a byte; 2.8 and 3.2 rank as well
_LEVELS = 16  # of half a byte; a value is (code - ZERO) steps
_ROWS_AT_ONCE = 512  # their values, as float32, fit into the processor's own cache


def record_components(logos: int) -> int:
    """Return how many components the records of an index of this many logos have, of vectors that have as many."""
    return MOST if logos >= MANY else FEW


class Ranked(NamedTuple):
    """Some items, and what their records say of their squared distances to a query (see `RecordFormat.estimates`).

    Attributes:
        items: (m,)
        estimates: (m,)
    """

    items: NDArray[np.int64]
    estimates: NDArray[np.float32]


def nearest_of(ranked: Sequence[Ranked], count: int) -> NDArray[np.int64]:
    """Return the `count` items, or all if they are fewer, whose estimates are the least, rising."""
    items, estimates = (np.concatenate(of_all) for of_all in zip(*ranked, strict=True))
    return np.sort(items[np.argpartition(estimates, count - 1)[:count]] if count < len(items) else items)


@dataclass(frozen=True, slots=True)
class RecordFormat:
    """How vectors are turned into records.

    Attributes:
        components: the components that vectors are projected on.
        steps: (components,) float32, the value of one step of the code of each.
    """

    components: Components
    steps: NDArray[np.float32]

    @classmethod
    def fit(cls, sample: NDArray[np.float32], count: int) -> RecordFormat:
        """Choose components, at most `count`, and the steps by a sample of vectors, `(n, dim)`."""
        sample = usual(sample)
        components = Components.fit(sample, count)
        projected = components.project(sample)
        steps = np.empty(len(components), np.float32)
        steps[:IN_BYTES] = np.quantile(np.abs(projected[:, :IN_BYTES]), 1 - _CLIPPED) / _LARGEST_CODE
        steps[IN_BYTES:] = 2 * _HALF_RANGE / _LEVELS * projected[:, IN_BYTES:].std(axis=0)
        return cls(components, np.maximum(steps, np.float32(SMALLEST_STEP)))

    @staticmethod
    def size_of(count: int) -> int:
        """Return the bytes of a record of `count` components."""
        in_bytes = min(count, IN_BYTES)
        return BRACKET + in_bytes + -(-(count - in_bytes) // 2)

    @property
    def row_bytes(self) -> int:
        """The size of a record in bytes."""
        return self.size_of(len(self.components))

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the records of `(n, dim)` vectors: `(n, row_bytes)`."""
        records = np.empty((len(vectors), self.row_bytes), np.uint8)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            self._encode(vectors[start : start + _ROWS_AT_ONCE], records[start : start + _ROWS_AT_ONCE])
        return records

    def _encode(self, vectors: NDArray[np.float32], records: NDArray[np.uint8]) -> None:
        centred = vectors - self.components.mean
        values = np.matmul(centred, self.components.directions.T, dtype=np.float32)
        left = _squares(centred) - _squares(values)
        values /= self.steps
        whole, halves = values[:, :IN_BYTES], values[:, IN_BYTES:]
        halves += np.float32(ZERO)
        np.rint(values, out=values)
        np.clip(whole, -_LARGEST_CODE, _LARGEST_CODE, out=whole)
        np.clip(halves, 0, _LEVELS - 1, out=halves)
        codes = records[:, BRACKET:]
        codes[:, : whole.shape[1]].view(np.int8)[:] = whole
        codes[:, whole.shape[1] :] = _packed(halves.astype(np.uint8))
        halves -= np.float32(ZERO)
        values *= self.steps
        brackets = _squares(values) + np.maximum(left, 0)
        records[:, :BRACKET] = brackets.astype("<f4")[:, np.newaxis].view(np.uint8)

    def decode(self, records: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        """Return the first `count` components of `(n, row_bytes)` records, `(n, count)`; at most `IN_BYTES`."""
        return records[:, BRACKET : BRACKET + count].view(np.int8).astype(np.float32) * self.steps[:count]

    def rests(self, records: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far, `(n,)`, records are from `(n, count)` points, their first components."""
        rests: NDArray[np.float32] = np.sqrt(np.maximum(_brackets(records) - _squares(points), 0))
        return rests

    def estimates(
        self, query: NDArray[np.float32], records: NDArray[np.uint8], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return what the records of some items say of their squared distances to a query, `(m,)`; see the module.

        Args:
            query: (components,)
            records: (n, row_bytes) of all items.
            items: (m,) in any order.
        """
        whole, step = whole_numbers(query * self.steps * 2)
        brackets, products = read_records(records, items, whole, min(IN_BYTES, len(whole)))
        return brackets - products * np.float32(step)

    def save(self, path: Path) -> None:
        """Write mean, steps and directions, `(2 + components, dim)`, in NumPy's format, and sync the file."""
        steps = np.zeros(self.components.dim, np.float32)
        steps[: len(self.steps)] = self.steps
        with path.open("wb") as file:
            np.save(file, np.vstack([self.components.mean, steps, self.components.directions]), allow_pickle=False)
        sync_file(path, mode=READABLE)

    @classmethod
    def load(cls, path: Path, *, dim: int, count: int) -> RecordFormat:
        """Read what `save` wrote.

        Raises:
            IndexDamagedError: the file contains something else.
            OSError: it cannot be read.
        """
        try:
            rows = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, BadZipFile) as error:
            raise IndexDamagedError(f"{path}: {error}") from error
        if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.shape != (2 + count, dim):
            raise IndexDamagedError(f"{path}: it does not hold {count} components of {dim} values")
        if not np.isfinite(rows).all() or not (rows[1, :count] >= SMALLEST_STEP).all():
            raise IndexDamagedError(f"{path}: a value in it is not finite, or no step")
        return cls(Components(rows[0], rows[2:]), np.ascontiguousarray(rows[1, :count]))


def _brackets(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows[:, :BRACKET]).view("<f4")[:, 0]


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return codes of half a byte, `(n, k)`, in bytes: the first half of them in the lower half bytes."""
    lower = -(-codes.shape[1] // 2)
    packed = codes[:, :lower].copy()
    packed[:, : codes.shape[1] - lower] |= codes[:, lower:] << 4
    return packed


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return squares
