"""The interface of a search index: logo ids and vectors in, neighbours out.

Every engine implements this protocol, and the tests compare each with `index.exact.ExactIndex`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from index.status import IndexStatus

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns the vectors of logos: `(n, dim)` for ids `(n,)`, with a row of NaN for a logo without a usable vector.

The caller may change the array."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest logos, nearest first; equally near ones in the order they were indexed.

    Plain lists, because a JSON response is built faster from them than from arrays.

    Attributes:
        logo_ids: `k` distinct ids.
        distances: `k` Euclidean distances, finite, with the precision of float32.
    """

    logo_ids: list[int]
    distances: list[float]

    def without(self, logo_id: int, count: int) -> Neighbours:
        """Return the first `count` neighbours that are not a logo, which may be among them."""
        kept = [place for place, other in enumerate(self.logo_ids) if other != logo_id][:count]
        return Neighbours([self.logo_ids[place] for place in kept], [self.distances[place] for place in kept])


class SearchIndex(Protocol):
    """Logos that can be searched; safe to use from many threads at once."""

    @property
    def dim(self) -> int:
        """The number of values in a vector."""

    def __len__(self) -> int: ...

    def __contains__(self, logo_id: int) -> bool: ...

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of `(n,)` that are not indexed, in their order."""

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to an indexed one: itself first, at distance 0.

        A `count` beyond the size of the index returns all its logos.

        Raises:
            KeyError: the logo is not indexed.
            VectorUnavailableError: the index needs the logo's vector, which is damaged or no longer stored.
            ValueError: `count` is below 1.
        """

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` float32 vector.

        A `count` beyond the size of the index returns all its logos.

        Raises:
            DimensionError: the vector has another number of values than the index.
            UnusableVectorError: no distance can be computed from the vector (see `index.vectors`).
            ValueError: `count` is below 1.
        """

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that serves these logos in fewer round trips; `self` by default.

        Raises:
            ValueError: `count` is below 1.
        """

    def random_logo(self) -> int | None:
        """Return the id of some indexed logo; `None` if the index is empty."""


@runtime_checkable
class SelectiveIndex(Protocol):
    """A `SearchIndex` that can search only some of its logos, without ranking the others."""

    def among(self, logo_ids: NDArray[np.int64]) -> SearchIndex | None:
        """Return an index of those of some logos, `(n,)` ascending, that this one holds.

        `None` if it is better to scan their vectors, or to search all and drop the others.
        """


class Catalog(Protocol):
    """The indexes of a service, kept up to date between `start` and `close`."""

    def get(self, name: str | None) -> SearchIndex:
        """Return an index by its name; `None` means the default one.

        Raises:
            UnknownIndexError: no index has this name.
            IndexUnavailableError: it exists, but cannot be served for now.
        """

    def names(self) -> list[str]:
        """Return the names that `get` accepts, in alphabetical order."""

    def status(self) -> list[IndexStatus]:
        """Return the status of each index, including those that cannot be served, in alphabetical order."""

    def status_of(self, name: str | None) -> IndexStatus:
        """Return the status of an index; `None` means the default one.

        Raises:
            UnknownIndexError: no index has this name.
        """

    def refresh(self) -> None:
        """Check every index once, and load what changed."""

    def start(self) -> None:
        """Call `refresh` regularly from now on, in a separate thread."""

    def close(self) -> None:
        """Stop the thread; loaded indexes can still be searched."""
