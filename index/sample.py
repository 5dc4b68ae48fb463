"""Some of the logos that are going to be indexed: components are found from them, and recall is measured on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.errors import IndexBuildError
from index.recall import QUERIES, Truth
from index.vectors import usable_rows

SIZE = 32_768
"""Logos that are drawn: 25 times as many as a vector has values, and a few seconds of work."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Logos drawn at random: ids (n,) and vectors (n, dim)."""

    logo_ids: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def usable(self) -> Sample:
        """Leave out those that are going to be left out of the index.

        Raises:
            IndexBuildError: these are all.
        """
        usable = usable_rows(self.vectors)
        if not usable.any():
            raise IndexBuildError("nothing to index: no vector of a sample is finite and short enough")
        return Sample(self.logo_ids[usable], self.vectors[usable])

    def truth(self) -> Truth:
        """Begin to look for the nearest neighbours of every so-manieth of them, `QUERIES` in all."""
        some = slice(0, None, max(1, len(self.logo_ids) // QUERIES))
        return Truth(self.logo_ids[some][:QUERIES], self.vectors[some][:QUERIES])
