"""What a search index is to the rest of the service: logo ids and vectors in, neighbours out.

Every engine answers this protocol, and the tests hold each to `index.exact.ExactIndex`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.status import IndexStatus

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Gives the vectors of logos: `(n, dim)` for ids `(n,)`, with a row of NaN for a logo whose vector cannot be had.

The array is the caller's own."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest logos, nearest first; equally near ones in the order they were indexed.

    Plain lists: the rows of a JSON answer are made from them faster than from arrays.

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
        """The number of values of a vector."""

    def __len__(self) -> int: ...

    def __contains__(self, logo_id: int) -> bool: ...

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Answer those of some ids, `(n,)`, that are not indexed, in their order."""

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Answer the `count` nearest logos to an indexed one: itself first, at distance 0.

        A `count` beyond the size of the index gives all of it.

        Raises:
            KeyError: the logo is not indexed.
            VectorUnavailableError: the index needs the logo's vector, and it cannot be had.
            ValueError: `count` is below 1.
        """

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Answer the `count` nearest logos to a `(dim,)` float32 vector.

        A `count` beyond the size of the index gives all of it.

        Raises:
            DimensionError: the vector has another number of values than the index.
            UnusableVectorError: no distance can be computed from the vector (see `index.vectors`).
            ValueError: `count` is below 1.
        """

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Answer an index to ask for the `count` nearest logos to each of some: itself, unless that spares round trips.

        Raises:
            ValueError: `count` is below 1.
        """

    def random_logo(self) -> int | None:
        """Answer the id of any indexed logo; `None` if the index is empty."""


class Catalog(Protocol):
    """The indexes that a service answers from, kept up to date between `start` and `close`."""

    def get(self, name: str | None) -> SearchIndex:
        """Answer an index by its name; `None` is the default one.

        Raises:
            UnknownIndexError: there is none of that name.
            IndexUnavailableError: it exists, but cannot be served for now.
        """

    def names(self) -> list[str]:
        """Answer the names that `get` answers, in alphabetical order."""

    def status(self) -> list[IndexStatus]:
        """Answer how each index stands, those among them that cannot be served, in alphabetical order."""

    def status_of(self, name: str | None) -> IndexStatus:
        """Answer how an index stands; `None` is the default one.

        Raises:
            UnknownIndexError: there is none of that name.
        """

    def refresh(self) -> None:
        """Look once at every index, and take in what changed."""

    def start(self) -> None:
        """Look again and again from now on, in a thread of its own."""

    def close(self) -> None:
        """Stop looking; what is loaded goes on answering."""
