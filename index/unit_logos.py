"""Logos at unit length: what an index for cosine distances is built from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.annoy.build import Blocks
from index.build import LogoSource, Snapshot
from index.cosine import at_unit_length, unit_rows
from index.lists.build import PlacedBlocks
from index.protocol import Vectors


class UnitLogos:
    """A `LogoSource` whose vectors are those of another one at unit length.

    A vector without a direction becomes a row of NaN, which a build leaves out.
    """

    def __init__(self, logos: LogoSource) -> None:
        self._logos = logos

    @property
    def dim(self) -> int:
        """The number of values of a vector."""
        return self._logos.dim

    @property
    def vectors(self) -> Vectors:
        """Returns the vectors of logos, at unit length."""
        return at_unit_length(self._logos.vectors)

    def __len__(self) -> int:
        return len(self._logos)

    def snapshot(self) -> Snapshot:
        """Return the logos that are stored now."""
        return _UnitSnapshot(self._logos.snapshot())


class _UnitSnapshot:
    """A `Snapshot` of vectors at unit length."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.ids = snapshot.ids
        self.dim = snapshot.dim
        self._snapshot = snapshot

    @property
    def damaged(self) -> int:
        return self._snapshot.damaged

    @damaged.setter
    def damaged(self, count: int) -> None:
        self._snapshot.damaged = count

    def __len__(self) -> int:
        return len(self._snapshot)

    def blocks(self) -> Blocks:
        return ((ids, unit_rows(vectors)) for ids, vectors in self._snapshot.blocks())

    def blocks_of(self, places: NDArray[np.int64]) -> PlacedBlocks:
        return ((at, ids, unit_rows(vectors)) for at, ids, vectors in self._snapshot.blocks_of(places))

    def sample(self, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids, vectors = self._snapshot.sample(count, seed)
        return ids, unit_rows(vectors)

    def checksums(self) -> NDArray[np.uint32]:
        return self._snapshot.checksums()
