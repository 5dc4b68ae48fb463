"""The map of an index: its logos, or a sample of them, laid out on a plane so that similar logos are close together.

It is drawn after a generation was published, because searches should not wait for a picture, and moved into the
generation when it is complete. If a build is killed on the way, or fails, its index has no map; the next one will.

From one generation to the next, most logos stay on the map, in about the same place: the sample is drawn by the logos'
ids, and the layout starts from the previous one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.components import Components, usual
from index.errors import IndexDamagedError
from index.files.generations import list_generations
from index.files.logo_ids import LogoIds
from index.files.manifest import TXT_NAME, read_manifest
from index.files.regular_file import read_regular
from index.map.map_file import SIDE, LogoMap, read_map, write_map
from index.map.tsne import STEPS, STEPS_FROM_EARLIER, lay_out
from index.protocol import Vectors
from index.vectors import usable_rows

logger = logging.getLogger(__name__)

POINTS = 20_000
"""Logos on a map: what a browser draws at 60 frames a second, and half a minute of work on two cores."""

FEWEST_LOGOS = 50
"""A smaller index has no map: its logos fit on one page, and starting the layout takes longer than building it."""

COMPONENTS = 50
"""Principal components that the layout starts from; van der Maaten and Hinton used 30, most have used 50 since."""

_FITTED = 2**12  # logos that the components are computed from
_BLOCK = 2**11  # logos whose vectors are in memory at once
_ENOUGH_KNOWN = 0.5  # share of the points that an earlier layout must have to start from it


def earlier_map(index_dir: Path, *, weights_digest: str) -> LogoMap | None:
    """Return the newest map of an index that shows vectors of the same weights; `None` if there is none."""
    for generation in reversed(list_generations(index_dir)):
        try:
            if read_manifest(generation).weights_digest == weights_digest and (found := read_map(generation)):
                return found
        except IndexDamagedError as error:
            logger.warning("skipping: %s", error)
    return None


def add_map(
    generation: Path,
    vectors: Vectors,
    *,
    max_points: int = POINTS,
    earlier: LogoMap | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _steps: None,
) -> LogoMap:
    """Draw the map of a published generation, and store it there.

    Args:
        generation: its directory.
        vectors: returns the vectors of logos.
        max_points: the largest number of logos on the map.
        earlier: a map to start from, if it shows at least half of these logos.
        seed: see `index.map.tsne.lay_out`.
        progress: called with the number of steps just done, or skipped, of `index.map.tsne.STEPS`.

    Raises:
        OSError, ValueError: the generation cannot be read, or cannot be written.
    """
    ids = LogoIds.parse(read_regular(generation / TXT_NAME)).all()
    return draw_map(generation, ids, vectors, max_points=max_points, earlier=earlier, seed=seed, progress=progress)


def draw_map(
    directory: Path,
    logo_ids: NDArray[np.int64],
    vectors: Vectors,
    *,
    max_points: int = POINTS,
    earlier: LogoMap | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _steps: None,
) -> LogoMap:
    """Draw a map of logos, (n,), and store it in a directory; see `add_map`.

    Raises:
        OSError: it cannot be written.
    """
    ids, points = principal_components(sampled(logo_ids, max_points), vectors)
    known = None if earlier is None else _known(ids, earlier)
    if known is not None:
        progress(STEPS - STEPS_FROM_EARLIER)  # these are skipped
    layout = lay_out(points, seed=seed, earlier=known, progress=progress)
    made = LogoMap(ids, _on_the_square(layout))
    write_map(directory, made)
    logger.info("drew a map of %d logos in %s", len(ids), directory)
    return made


def sampled(logo_ids: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Draw up to `count` of the ids, (n,), in random order.

    Which ones are drawn depends on the ids alone, so as logos are added, most logos of the sample stay in it.
    """
    if count <= 0:
        return logo_ids[:0]
    mixed = _mixed(logo_ids)
    if count < len(logo_ids):
        kept = np.argpartition(mixed, count - 1)[:count]
        logo_ids, mixed = logo_ids[kept], mixed[kept]
    return logo_ids[np.argsort(mixed, kind="stable")]


def _mixed(logo_ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number for each id that looks random: the finalizer of SplitMix64 (Steele et al. 2014)."""
    bits = logo_ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def principal_components(
    ids: NDArray[np.int64], vectors: Vectors, count: int = COMPONENTS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the ids of the logos with usable vectors, (n,), and their first principal components, (n, count)."""
    kept, points = [ids[:0]], [np.zeros((0, 1), np.float32)]
    found: Components | None = None
    for start, stop in _blocks(len(ids)):
        of_block = vectors(ids[start:stop])
        usable = usable_rows(of_block)
        of_block = of_block[usable]
        if not len(of_block):
            continue
        if found is None:
            found = Components.fit(usual(of_block), count)
            points = []
        kept.append(ids[start:stop][usable])
        points.append(found.project(of_block))
    return np.concatenate(kept), np.concatenate(points)


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of blocks: a large one, which the components are computed from, then small ones."""
    edges = [0, *range(min(_FITTED, count), count, _BLOCK), count]
    return pairwise(edges)


def _known(ids: NDArray[np.int64], earlier: LogoMap) -> NDArray[np.float32] | None:
    """Return the positions of logos on an earlier map, (n, 2), NaN if missing; `None` if too many are."""
    shared, places, earlier_places = np.intersect1d(ids, earlier.logo_ids, assume_unique=True, return_indices=True)
    if not len(shared) or len(shared) < _ENOUGH_KNOWN * len(ids):
        return None
    known = np.full((len(ids), 2), np.nan, np.float32)
    known[places] = earlier.positions[earlier_places]
    return known


def _on_the_square(layout: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a layout in whole numbers, centred, and as large as fits."""
    if not len(layout):
        return np.zeros((0, 2), np.int64)
    low, high = layout.min(axis=0), layout.max(axis=0)
    span = float((high - low).max()) or 1.0
    scaled: NDArray[np.float64] = (layout - (low + high) / 2) * (SIDE / span) + SIDE / 2
    return np.rint(scaled).clip(0, SIDE).astype(np.int64)
