"""The interface of a rival: it indexes vectors, then answers queries at several efforts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Items = NDArray[np.int64]
ROWS_AT_ONCE = 10_000


class Engine(ABC):
    """One engine with one way of building; items are the rows of the vectors.

    Attributes:
        title: its name in tables and plots.
        packages: required packages, by their names on PyPI.
        effort: the name of its effort parameter; empty if it has only one effort.
        efforts: from fast to thorough; `None` is the engine's own default.
        held_bytes_a_value: required memory for each value of a vector.
        numpy_in_queries: whether its queries run in numpy, whose threads must then be limited to one.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    effort: ClassVar[str] = ""
    efforts: ClassVar[tuple[int | None, ...]] = (None,)
    held_bytes_a_value: ClassVar[float] = 0.0
    numpy_in_queries: ClassVar[bool] = False

    @abstractmethod
    def fit(self, vectors: FloatArray, folder: Path) -> None:
        """Index vectors `(n, dim)` with all cores; files go to an empty folder.

        The vectors may be mapped: their pages are released if the engine keeps no reference to them.
        """

    @abstractmethod
    def set_effort(self, effort: int | None, count: int) -> None:
        """Prepare for queries of `count` neighbours with one of the efforts."""

    @abstractmethod
    def query(self, vector: FloatArray, count: int) -> Items:
        """Return the nearest items found to a `(dim,)` vector, in any order."""

    def close(self) -> None:  # noqa: B027
        """Stop what was started."""


def blocks(vectors: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield the first row and the rows of each block, read into memory."""
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        yield start, np.array(vectors[start : start + ROWS_AT_ONCE])
