"""Logos, and indexes of lists of them, for the tests of this room."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.files.manifest import Manifest
from index.lists.build import PlacedBlocks, build_lists
from index.protocol import Vectors
from tests.index.samples import Logos

DIM = 40


def some_vectors(count: int, dim: int = DIM, latent: int = 6, noise: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    """Vectors that vary in a few directions, and a little in all."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(latent, dim))
    vectors = 5 + rng.normal(size=(count, latent)) @ directions + noise * rng.normal(size=(count, dim))
    return vectors.astype(np.float32)


def logos_of(count: int, seed: int = 0) -> Logos:
    """Ids that are neither sorted nor contiguous, and vectors."""
    rng = np.random.default_rng(seed + 100)
    return rng.permutation(np.arange(1, 3 * count + 1))[:count], some_vectors(count, DIM, latent=12, seed=seed)


def kept(logos: Logos, *, lost: tuple[int, ...] = ()) -> Vectors:
    """What returns the vectors of logos, but for those that are lost."""
    rows = {logo_id: row for row, logo_id in enumerate(logos[0].tolist()) if logo_id not in lost}
    nothing = np.full(logos[1].shape[1], np.nan, np.float32)

    def vectors(logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.array([logos[1][rows[i]] if i in rows else nothing for i in logo_ids.tolist()], np.float32)

    return vectors


class SomeLogos:
    """A source of logos; `read` says which were read."""

    def __init__(self, logos: Logos) -> None:
        self.ids, self.vectors = logos
        self.dim = self.vectors.shape[1]
        self.read: list[int] = []

    def sample(self, count: int, seed: int) -> Logos:
        return self.ids[:count], self.vectors[:count]

    def checksums(self) -> NDArray[np.uint32]:
        return np.array([zlib.crc32(vector.tobytes()) for vector in self.vectors], np.uint32)

    def blocks_of(self, places: NDArray[np.int64]) -> PlacedBlocks:
        for first in range(0, len(places), 700):
            some = places[first : first + 700]
            self.read += self.ids[some].tolist()
            yield some, self.ids[some], self.vectors[some]


def build(
    directory: Path, logos: Logos | SomeLogos, kept_in: Path | None = None, *, copied: bool = False, **options: Any
) -> Manifest:
    """Build an index of lists, with or without a copy of the vectors; with one job, unless the options differ."""
    directory.mkdir(parents=True, exist_ok=True)
    source = logos if isinstance(logos, SomeLogos) else SomeLogos(logos)
    vectors = kept((source.ids, source.vectors))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.lists.plan.COPIED_BELOW", len(source.ids) + 1 if copied else 0)
        return build_lists(directory, source, vectors, kept_in or directory / "kept", **{"jobs": 1, **options})
