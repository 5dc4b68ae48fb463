"""The map of an index: how many neighbours it keeps, and how long it takes to draw.

Some of a logo's ten nearest by the vectors are also among its ten nearest on the map. The rival is the plane of the
first two principal components, which is what a map would be without t-SNE. (openTSNE 1.0.4 with its defaults kept 0.587
where this keeps 0.594, and took 50 s where this takes 21 s, once, on the machine of `rows.md`.)
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.fixture import Fixture
from benchmarks.logos import draw_logos
from benchmarks.table import Ratio, Row
from index.map.logo_map import COMPONENTS
from index.map.tsne import lay_out
from index.reduction import Reduction

NEAREST = 10
ASKED = 1000  # logos whose neighbours are compared: the first ones
MOST_POINTS = 20_000
FITTED = 4096
REACH = 10.0

FloatArray = NDArray[np.float32]


def measure(fixture: Fixture) -> list[Row]:
    """Draw a map of the logos, and compare neighbours."""
    logos = min(fixture.scale.logos, MOST_POINTS)
    vectors = np.concatenate([vectors for _, vectors in draw_logos(logos, fixture.scale.seed)])
    fixture.say(f"drawing a map of {logos} logos")
    started = time.monotonic()
    points = Reduction.fit(vectors[:FITTED], tree_dim=1, code_dim=COMPONENTS).project(vectors)
    layout = lay_out(points)
    seconds = time.monotonic() - started
    kept, kept_flat = shared_neighbours(vectors, layout), shared_neighbours(vectors, points[:, :2])
    ratio = Ratio.of([kept], [kept_flat])
    return [
        Row(
            f"share of the {NEAREST} nearest that are the nearest on the map, too, of {logos:,} logos; it took"
            f" {seconds:.1f} s to draw",
            f"{kept:.3f}",
            f"{kept_flat:.3f}, the first two principal components",
            ratio,
            f"{REACH:g} ×",
            ratio.median >= REACH,
        )
    ]


def shared_neighbours(vectors: FloatArray, layout: FloatArray) -> float:
    """Return the mean share of the nearest vectors that are also nearest on a layout."""
    pairs = zip(_nearest(vectors), _nearest(layout), strict=True)
    return float(np.mean([len({*ours} & {*theirs}) / NEAREST for ours, theirs in pairs]))


def _nearest(points: FloatArray) -> list[list[int]]:
    asked = points[:ASKED]
    distances = np.einsum("ij,ij->i", points, points) - 2 * (asked @ points.T)
    distances[np.arange(len(asked)), np.arange(len(asked))] = np.inf
    found: list[list[int]] = np.argpartition(distances, NEAREST, axis=1)[:, :NEAREST].tolist()
    return found
