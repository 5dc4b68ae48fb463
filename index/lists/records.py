"""Make records, the principal components of logos in 8 or 4 bits each, and rank the candidates of a query by them.

The part of a vector outside the components counts too. With x for the components that a record stands for, w for
`LEFTOVER_WEIGHT`, and y for the components of a query:

    |x - y|^2  is about  (|x|^2 + w leftover of the vector) - 2 x.y  and what is the same for all records

A short record is the bracket, as a float32, and a byte for each component. Among millions, it ranks some of the nearest
too low, because the components that it lacks differ too. A long record has nearly all components: the first in bytes,
and the others in half bytes, which costs less precision than leaving half of them out. Its first part, with a bracket
of its own, is enough to drop most candidates, so that few records are read to the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, sync_file
from index.components import Components, usual
from index.errors import IndexDamagedError

SHORT, LONG = 252, 1264
"""Number of components in a record: short ones take 256 bytes, long ones 704, whole lines of the cache."""

LONG_FROM = 200_000
"""Number of logos from which records are long."""

LEFTOVER_WEIGHT = np.float32(0.85)
"""Near neighbours have a little in common outside the components, so not all of it is distance (measured)."""

SMALLEST_STEP = float(np.finfo(np.float32).tiny)
"""The smallest step that float32 can represent with full precision."""

_BYTES_OF_LONG, _FIRST_OF_LONG = 128, 248
"""Components of a long record in bytes, and in its first part, which takes 192 bytes."""

_REFINED = 12
"""The first part drops all but this many times as many candidates as are wanted.

It loses few of the nearest: with 5 times, twice as many vectors have to be measured."""

_LARGEST_CODE = 127
_CLIPPED = 1e-4  # of the sample's values are beyond the largest code of a byte
_HALF_RANGE = 3.0  # standard deviations from 0 to the end of the codes of half a byte; 2.8 and 3.2 rank as well
_LEVELS, _ZERO = 16, 7.5  # of half a byte; a value is (code - zero) steps
_ROWS_AT_ONCE = 512  # their values, as float32, fit into the processor's own cache
_BRACKET = 4  # bytes


def record_components(logos: int) -> int:
    """Return how many components the records of an index of this many logos have."""
    return LONG if logos >= LONG_FROM else SHORT


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a record: its bracket, and the components from `first`: `bytes` in bytes, then `halves` in half bytes.

    Attributes:
        start: its first byte in the record.
        first: its first component.
        bytes: number of components in bytes.
        halves: number of components in half bytes; the last byte may hold one alone.
    """

    start: int
    first: int
    bytes: int
    halves: int

    @property
    def packed(self) -> int:
        """Number of bytes that hold the half bytes."""
        return -(-self.halves // 2)

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.start + _BRACKET + self.bytes + self.packed

    @property
    def stop(self) -> int:
        """The component after its last."""
        return self.first + self.bytes + self.halves


@dataclass(frozen=True)
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
        in_bytes = cls.bytes_of(len(components))
        steps[:in_bytes] = np.quantile(np.abs(projected[:, :in_bytes]), 1 - _CLIPPED) / _LARGEST_CODE
        steps[in_bytes:] = 2 * _HALF_RANGE / _LEVELS * projected[:, in_bytes:].std(axis=0)
        return cls(components, np.maximum(steps, np.float32(SMALLEST_STEP)))

    @staticmethod
    def bytes_of(count: int) -> int:
        """Return how many of `count` components are in bytes."""
        return count if count <= SHORT else _BYTES_OF_LONG

    @staticmethod
    def size_of(count: int) -> int:
        """Return the bytes of a record of `count` components."""
        return _parts(count)[-1].end

    @property
    def row_bytes(self) -> int:
        """The size of a record in bytes."""
        return self._parts[-1].end

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        return _parts(len(self.components))

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the records of `(n, dim)` vectors: `(n, row_bytes)`."""
        records = np.empty((len(vectors), self.row_bytes), np.uint8)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            self._encode(vectors[start : start + _ROWS_AT_ONCE], records[start : start + _ROWS_AT_ONCE])
        return records

    def _encode(self, vectors: NDArray[np.float32], records: NDArray[np.uint8]) -> None:
        centred = vectors - self.components.mean
        values = np.matmul(centred, self.components.directions.T, dtype=np.float32)
        left = _squares(centred)
        squares: NDArray[np.float32] = np.zeros(len(vectors), np.float32)  # of what the parts so far stand for
        for part in self._parts:
            of_part, steps = values[:, part.first : part.stop], self.steps[part.first : part.stop]
            left -= _squares(of_part)
            of_part /= steps
            of_part[:, part.bytes :] += np.float32(_ZERO)
            np.rint(of_part, out=of_part)
            whole, halves = of_part[:, : part.bytes], of_part[:, part.bytes :]
            np.clip(whole, -_LARGEST_CODE, _LARGEST_CODE, out=whole)
            np.clip(halves, 0, _LEVELS - 1, out=halves)
            codes = records[:, part.start + _BRACKET : part.end]
            codes[:, : part.bytes].view(np.int8)[:] = whole
            codes[:, part.bytes :] = _packed(halves.astype(np.uint8))
            halves -= np.float32(_ZERO)
            of_part *= steps
            squares += _squares(of_part)
            brackets = squares + LEFTOVER_WEIGHT * np.maximum(left, 0)
            records[:, part.start : part.start + _BRACKET] = brackets.astype("<f4")[:, np.newaxis].view(np.uint8)

    def decode(self, records: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        """Return the first `count` components of `(n, row_bytes)` records, `(n, count)`, in 8-bit precision."""
        return records[:, _BRACKET : _BRACKET + count].view(np.int8).astype(np.float32) * self.steps[:count]

    def rests(self, records: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far, `(n,)`, records are from `(n, count)` points, their first components."""
        rests: NDArray[np.float32] = np.sqrt(np.maximum(_brackets(records) - _squares(points), 0))
        return rests

    def nearest(
        self, query: NDArray[np.float32], records: NDArray[np.uint8], items: NDArray[np.int64], count: int
    ) -> NDArray[np.int64]:
        """Return the `count` of some items, `(m,)`, of `(n, row_bytes)` records that are nearest to a query, rising.

        Args:
            query: (components,)
            records: of all items.
            items: to choose from.
            count: how many to choose, if there are as many.
        """
        if count >= len(items):
            return np.sort(items)
        scaled = query * self.steps * 2
        products: NDArray[np.float32] = np.zeros(len(items), np.float32)
        for part in self._parts:
            brackets = self._read(part, records, items, scaled, products)
            wanted = count if part is self._parts[-1] else _REFINED * count
            if wanted < len(items):
                chosen = np.argpartition(brackets - products, wanted - 1)[:wanted]
                items, products = items[chosen], products[chosen]
        return np.sort(items)

    def _read(
        self,
        part: _Part,
        records: NDArray[np.uint8],
        items: NDArray[np.int64],
        scaled: NDArray[np.float32],
        products: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the brackets of a part of records, `(m,)`, and add its products with a scaled query to `products`."""
        brackets = np.empty(len(items), np.float32)
        of_part = records[:, part.start : part.end]
        for start in range(0, len(items), _ROWS_AT_ONCE):
            rows = of_part[items[start : start + _ROWS_AT_ONCE]]  # `take` would copy all records first
            brackets[start : start + len(rows)] = _brackets(rows)
            for codes, columns in _codes(rows, part):
                products[start : start + len(rows)] += codes.astype(np.float32) @ scaled[columns]
        return brackets

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


def _parts(count: int) -> tuple[_Part, ...]:
    if count <= SHORT:
        return (_Part(0, 0, count, 0),)
    first = _Part(0, 0, _BYTES_OF_LONG, _FIRST_OF_LONG - _BYTES_OF_LONG)
    return first, _Part(first.end, first.stop, 0, count - first.stop)


def _brackets(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows[:, :_BRACKET]).view("<f4")[:, 0]


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return codes of half a byte, `(n, k)`, in bytes: the first half of them in the lower half bytes."""
    lower = -(-codes.shape[1] // 2)
    packed = codes[:, :lower].copy()
    packed[:, : codes.shape[1] - lower] |= codes[:, lower:] << 4
    return packed


def _codes(rows: NDArray[np.uint8], part: _Part) -> Iterator[tuple[NDArray[np.generic], slice]]:
    """Yield the codes in a part, `(n, k)` integers, and their components; those of half bytes are too large by `_ZERO`.

    That adds the same to all products of a query.
    """
    stop = part.first + part.bytes
    if part.bytes:
        yield rows[:, _BRACKET : _BRACKET + part.bytes].view(np.int8), slice(part.first, stop)
    if part.halves:
        packed = rows[:, _BRACKET + part.bytes :]
        yield packed & 15, slice(stop, stop + part.packed)
        yield packed[:, : part.halves - part.packed] >> 4, slice(stop + part.packed, part.stop)


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return squares
