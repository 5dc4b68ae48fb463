"""The interface of the logos that a collection is filled from and kept in step with.

The embedding store implements `LogoSource`. This room knows nothing else of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Mark(Protocol):
    """A moment in the life of a source; as JSON it remains valid in other processes."""

    @property
    def row(self) -> int:
        """The first row that was not stored yet."""

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object."""

    def at_row(self, row: int, last_id: int) -> Mark:
        """Return the moment when only the rows before `row` were stored; the last of them holds the logo `last_id`.

        It includes the deletions up to this moment. Before the first row, `last_id` is 0.
        """


class Changes(Protocol):
    """The changes between two moments."""

    @property
    def mark(self) -> Mark:
        """The later moment."""

    @property
    def first_row(self) -> int:
        """The first row after the earlier moment; 0 if that moment is unknown, or of another file."""

    @property
    def added(self) -> NDArray[np.int64]:
        """The ids `(n,)` of logos stored since, in order; some may have been stored before, too."""

    @property
    def deleted(self) -> Sequence[int]:
        """The ids of logos that were deleted and are not stored now, and perhaps others that are not stored."""

    @property
    def readded(self) -> Sequence[int]:
        """The ids of logos that were deleted and are stored now: their vectors may have changed."""

    @property
    def complete(self) -> bool:
        """Whether these are all logos and deletions, because the earlier moment is unknown or of another file."""


class Snapshot(Protocol):
    """The logos stored at one moment. They do not change when the source does."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids `(n,)`, in the order they were stored."""

    @property
    def dim(self) -> int:
        """The number of values in a vector."""

    @property
    def damaged(self) -> int:
        """How many logos the last pass through `placed_blocks` skipped."""

    def __len__(self) -> int: ...

    def place_of(self, row: int) -> int:
        """Return the place in `ids` of the first logo at or after a row."""

    def row_after(self, place: int) -> int:
        """Return the row after that of the logo at a place in `ids`."""

    def sample(self, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return at most `count` random intact logos: ids `(n,)` and vectors `(n, dim)`."""

    def placed_blocks(self, rows: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Yield at most `rows` logos at a time: places in `ids` `(n,)`, ids `(n,)`, vectors `(n, dim)`."""


class ModelStamp(Protocol):
    """Which model made the vectors."""

    @property
    def name(self) -> str:
        """The name of the model."""

    @property
    def digest(self) -> str:
        """The digest of its weights; empty if unknown."""


class LogoSource(Protocol):
    """Stored logos and their vectors."""

    @property
    def dim(self) -> int:
        """The number of values in a vector."""

    @property
    def stamp(self) -> ModelStamp:
        """Which model made the vectors."""

    def vectors(self, logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of logos; see `index.protocol.Vectors`."""

    def snapshot(self) -> Snapshot:
        """Return the logos that are stored now."""

    def mark(self) -> Mark:
        """Return this moment, for `since`."""

    def since(self, moment: object) -> Changes:
        """Return what changed since a moment, given as JSON, or since ever if it is not a moment of this source."""

    def count_since(self, moment: object) -> int:
        """Return how many logos were stored since a moment, as `since` accepts it."""
