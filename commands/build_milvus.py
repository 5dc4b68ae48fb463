"""`generate-index` with ANN_ENGINE=milvus: a new collection, and the map that lies here."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from commands.shell import progress
from embeddings.store.store import EmbeddingStore
from index.errors import IndexDamagedError
from index.files.generations import current_generation
from index.files.logo_ids import LogoIds
from index.files.manifest import TXT_NAME
from index.files.regular_file import read_regular
from index.map.logo_map import draw_map
from index.map.map_file import LogoMap, read_map
from index.map.tsne import STEPS
from index.milvus.build import CollectionBuild, CollectionPlan
from index.milvus.catalog import MAPS
from runtime.engines import milvus_of
from settings import Settings

logger = logging.getLogger("manage")


def build_in_milvus(
    settings: Settings,
    store: EmbeddingStore,
    index_dir: Path,
    *,
    keep: int,
    seed: int,
    fresh: bool,
    as_indexed: bool,
    wait: bool,
    with_map: bool,
) -> int:
    """Build a collection, switch to it, and draw its map; return how many damaged rows were left out.

    Args:
        settings: where Milvus is, and how it is to index.
        store: the logos.
        index_dir: of the index.
        keep: collections that stay.
        seed: which logos recall is measured on.
        fresh: do not go on with a build that was killed.
        as_indexed: take the logos of the Annoy index that lies here, and no others.
        wait: for another build of the index.
        with_map: draw the map.
    """
    plan = CollectionPlan(
        settings.milvus.index,
        shards=settings.milvus.shards,
        replicas=settings.milvus.replicas,
        keep=keep,
        seed=seed,
        resume=not fresh,
        patience_seconds=settings.milvus.build_seconds,
        grace_seconds=2 * settings.reload_seconds,
    )
    only = _annoys_logos(index_dir) if as_indexed else None
    milvus = milvus_of(settings.milvus)
    with progress("sending logos", len(store)) as advance:
        build = CollectionBuild(milvus, store, index_dir, plan, progress=advance, only=only)
        collection = build.run(wait=wait)
    if with_map and settings.map_points > 0:
        same_weights = build.before is not None and build.before.record.weights_digest == store.stamp.digest
        directory = index_dir / MAPS / collection.stamp
        _draw_map(directory, store.ids() if only is None else only, store, settings.map_points, seed, same_weights)
        _prune(index_dir / MAPS, keep)
    return build.damaged


def _annoys_logos(index_dir: Path) -> NDArray[np.int64]:
    source = current_generation(index_dir) or index_dir
    try:
        return LogoIds.parse(read_regular(source / TXT_NAME)).all()
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{source} holds no Annoy index to take the logos of: {error}") from error


def _draw_map(
    directory: Path, ids: NDArray[np.int64], store: EmbeddingStore, max_points: int, seed: int, same_weights: bool
) -> None:
    """Draw the map of a collection that answers: whatever goes wrong, the build went well."""
    try:
        earlier = _newest_map(directory.parent) if same_weights else None
        directory.mkdir(parents=True, exist_ok=True)
        with progress("drawing the map", STEPS) as advance:
            draw_map(directory, ids, store.vectors, max_points=max_points, earlier=earlier, seed=seed, progress=advance)
    except Exception:
        logger.exception("%s has no map; the next one will have", directory)


def _newest_map(maps: Path) -> LogoMap | None:
    for directory in sorted(maps.iterdir() if maps.is_dir() else [], reverse=True):
        try:
            if found := read_map(directory):
                return found
        except IndexDamagedError as error:
            logger.warning("passed over: %s", error)
    return None


def _prune(maps: Path, keep: int) -> None:
    for directory in sorted(maps.iterdir())[:-keep]:
        shutil.rmtree(directory, ignore_errors=True)
