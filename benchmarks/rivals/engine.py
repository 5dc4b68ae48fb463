"""What a rival is to the measurement: it takes vectors in, then answers queries at several efforts."""

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
        title: what tables and plots call it.
        packages: that must be installed, by their names on PyPI.
        effort: what its efforts are, in its own words; empty if it has one effort alone.
        efforts: from quick to thorough; `None` is the engine's own default.
        held_bytes_a_value: of memory that it cannot do without, for each value of a vector.
        numpy_in_queries: its queries run in numpy, whose threads must then be held to one.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    effort: ClassVar[str] = ""
    efforts: ClassVar[tuple[int | None, ...]] = (None,)
    held_bytes_a_value: ClassVar[float] = 0.0
    numpy_in_queries: ClassVar[bool] = False

    @abstractmethod
    def fit(self, vectors: FloatArray, folder: Path) -> None:
        """Take vectors `(n, dim)` in, with all cores; what is kept on disk goes into an empty folder.

        The vectors may be mapped: what keeps no reference to them lets go of their pages.
        """

    @abstractmethod
    def set_effort(self, effort: int | None, count: int) -> None:
        """Prepare for queries of `count` neighbours with one of the efforts."""

    @abstractmethod
    def query(self, vector: FloatArray, count: int) -> Items:
        """Answer the nearest items to a `(dim,)` vector, as far as they are found; the order does not count."""

    def close(self) -> None:  # noqa: B027
        """End what was started."""


def blocks(vectors: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield the first row and the rows of each block, read into memory."""
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        yield start, np.array(vectors[start : start + ROWS_AT_ONCE])
