"""The map and the distances of a collection, on this machine, in a directory that has the collection's time as name."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.build import BuildRequest
from index.distances.survey import add_survey
from index.errors import IndexDamagedError
from index.map.logo_map import FEWEST_LOGOS, draw_map
from index.map.map_file import LogoMap, read_map
from index.map.tsne import STEPS
from index.milvus.catalog import MAPS
from index.protocol import SearchIndex, Vectors
from index.stage import Stage, may_fail

logger = logging.getLogger(__name__)


def add_collection_files(
    request: BuildRequest,
    stamp: str,
    index: SearchIndex,
    ids: NDArray[np.int64],
    vectors: Vectors,
    stage: Stage,
    *,
    from_earlier: bool,
) -> None:
    """Draw the map of a collection that is served, measure its distances, and remove the files of former collections.

    If it fails, the log says so: the build itself succeeded.

    Args:
        request: the build's request.
        stamp: the time in the collection's name.
        index: the collection.
        ids: (n,) of its logos.
        vectors: returns the vectors of logos.
        stage: shows progress.
        from_earlier: start from the newest map; it must show vectors of the same weights.
    """
    maps = request.directory / MAPS
    if request.map_points and len(ids) >= FEWEST_LOGOS:
        _draw(request, maps / stamp, ids, vectors, stage, from_earlier=from_earlier)
    if request.compare:
        with may_fail(maps / stamp, "survey of distances"):
            (maps / stamp).mkdir(parents=True, exist_ok=True)
            add_survey(maps / stamp, index, ids, vectors, searched=request.compare, stage=stage)
    for directory in sorted(maps.iterdir() if maps.is_dir() else [])[: -request.keep]:
        shutil.rmtree(directory, ignore_errors=True)


def _draw(
    request: BuildRequest,
    directory: Path,
    ids: NDArray[np.int64],
    vectors: Vectors,
    stage: Stage,
    *,
    from_earlier: bool,
) -> None:
    with may_fail(directory, "map"), stage("drawing the map", STEPS) as advance:
        earlier = _newest_map(directory.parent) if from_earlier else None
        directory.mkdir(parents=True, exist_ok=True)
        draw_map(
            directory,
            ids,
            vectors,
            max_points=request.map_points,
            earlier=earlier,
            seed=request.seed or 0,
            progress=advance,
        )


def _newest_map(maps: Path) -> LogoMap | None:
    for directory in sorted(maps.iterdir() if maps.is_dir() else [], reverse=True):
        try:
            if found := read_map(directory):
                return found
        except IndexDamagedError as error:
            logger.warning("skipping a damaged map: %s", error)
    return None
