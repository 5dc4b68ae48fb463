"""The data that figures are measured on: vectors and crops, determined by a seed.

The vectors have the statistics of rendered logos, embedded with the bundled weights (`benchmarks.logo_statistics`), in
any number: docs/benchmarks says how close they come. That comparison also chose the parameters below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from benchmarks.logo_statistics import FloatArray, LogoStatistics

DIM = 1280
SMALLEST_ID = 100_000
ROWS_AT_ONCE = 1_000  # so that intermediate results stay in the processor's cache
NOISE_VALUES = 2**22  # every 1280 in a row are one draw


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much drawn logos have in common.

    Attributes:
        other_class: share of a centre's variance, in the last component, that comes from another class; in the first
            it is none. So classes that look alike overall differ in detail.
        group: the largest number of logos of a class that were photographed alike.
        group_share: share of a photo's variance that it has in common with its group.
        smallest_largest_class: minimum size of the largest class, which otherwise has a thousandth of all logos.
    """

    other_class: float = 0.6
    group: int = 8
    group_share: float = 0.5
    smallest_largest_class: int = 64


LIKENESS = Likeness()


class LogoSource:
    """Draws the vectors of `count` logos, block by block.

    It keeps the random choices of each class and group, not their vectors: 4 million logos take 150 MB.
    """

    def __init__(self, count: int, seed: int, statistics: LogoStatistics, likeness: Likeness = LIKENESS) -> None:
        self._statistics = statistics
        self._rng = rng = np.random.default_rng(seed)
        components, dim = statistics.basis.shape
        kept = np.float32(np.sqrt(dim / (dim - components)))  # corrects for the part of the noise removed by the basis
        self._rest_of_photo, self._rest_of_class = kept * statistics.rest_of_photo, kept * statistics.rest_of_class
        other = likeness.other_class * np.linspace(0, 1, components, dtype=np.float32)
        self._own_class, self._other_class = np.sqrt(1 - other), np.sqrt(other)
        self._of_group, self._of_photo = np.sqrt(np.array([likeness.group_share, 1 - likeness.group_share], np.float32))
        self._noise = sliding_window_view(rng.standard_normal(NOISE_VALUES, np.float32), dim)

        sizes = class_sizes(count, max(likeness.smallest_largest_class, count // 1000))
        self.class_of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))[:count]
        groups = -(-sizes // likeness.group)
        first_group = np.cumsum(groups) - groups
        self._group_of = first_group[self.class_of] + rng.integers(0, groups[self.class_of])
        self._classes = rng.integers(0, len(statistics.centres), (2, len(sizes)))
        self._class_noise = self._draw_noise(len(sizes))
        self._group_residual = self._draw_residuals(groups.sum())
        self._group_noise = self._draw_noise(groups.sum())

    def draw(self, rows: slice) -> FloatArray:
        """Draw the vectors `(n, dim)`, of length 1, of some rows; they depend on how many were drawn before."""
        statistics = self._statistics
        classes, groups = self.class_of[rows], self._group_of[rows]
        own, other = self._classes[:, classes]
        spreads = statistics.spreads[own][:, np.newaxis]
        residuals = self._of_group * statistics.residuals[self._group_residual[groups]]
        residuals += self._of_photo * statistics.residuals[self._draw_residuals(len(classes))]
        rest = self._of_group * self._noise[self._group_noise[groups]]
        rest += self._of_photo * self._noise[self._draw_noise(len(classes))]
        rest *= spreads
        rest *= self._rest_of_photo
        rest += self._rest_of_class * self._noise[self._class_noise[classes]]

        projected = self._own_class * statistics.centres[own] + self._other_class * statistics.centres[other]
        projected += spreads * residuals
        projected -= rest @ statistics.basis.T
        vectors: FloatArray = projected @ statistics.basis
        vectors += rest
        vectors += statistics.mean
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # as the network does last
        return vectors

    def _draw_residuals(self, count: int) -> NDArray[np.int64]:
        return self._rng.integers(0, len(self._statistics.residuals), count)

    def _draw_noise(self, count: int) -> NDArray[np.int64]:
        return self._rng.integers(0, len(self._noise), count)


def class_sizes(count: int, largest: int) -> NDArray[np.int64]:
    """Return sizes of classes for `count` logos or more: as many logos in those of 1, 2, 4, ... up to `largest`."""
    sizes = 2 ** np.arange(largest.bit_length())
    return np.repeat(sizes, -(-count // (len(sizes) * sizes)))


def draw_logos(count: int, seed: int, block: int = 10_000) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
    """Yield ids, `(n,)`, and vectors, `(n, 1280)`, of `count` logos, at most `block` at a time."""
    ids = SMALLEST_ID + 7 * np.random.default_rng(seed).permutation(count)
    source = LogoSource(count, seed, _statistics())
    for start in range(0, count, block):
        stop = min(start + block, count)
        parts = [source.draw(slice(row, min(row + ROWS_AT_ONCE, stop))) for row in range(start, stop, ROWS_AT_ONCE)]
        yield ids[start:stop], np.concatenate(parts)


def draw_crops(count: int, seed: int) -> list[Image.Image]:
    """Draw crops of a few hundred pixels a side, like those of logos on a photo."""
    rng = np.random.default_rng(seed)
    crops = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        width, height = rng.integers(80, 500, 2).tolist()
        crops.append(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return crops


@cache
def _statistics() -> LogoStatistics:
    return LogoStatistics.load()
