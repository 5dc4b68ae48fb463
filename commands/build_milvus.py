"""`generate-index` with ANN_ENGINE=milvus: build a new collection, draw its map, and measure its distances."""

from __future__ import annotations

import click
import numpy as np
from numpy.typing import NDArray

from commands.shell import progress
from embeddings.store.store import EmbeddingStore
from index.build import BuildRequest
from index.files.generations import current_generation
from index.files.logo_ids import LogoIds
from index.files.manifest import TXT_NAME
from index.files.regular_file import read_regular
from index.milvus.build import CollectionBuild
from index.milvus.collection_files import add_collection_files
from index.milvus.kinds import IndexKind
from index.milvus.plan import CollectionPlan
from runtime.engines import milvus_of
from settings import Settings


def describe_milvus_build(settings: Settings, store: EmbeddingStore) -> str:
    """Return a line that says what `build_in_milvus` would do."""
    kind = IndexKind.of(settings.milvus.index, len(store)).name
    return f"would index {len(store)} logos of {store.dim} values in Milvus at {settings.milvus.uri}, {kind}"


def build_in_milvus(settings: Settings, store: EmbeddingStore, request: BuildRequest, *, as_indexed: bool) -> int:
    """Build a collection, switch to it, and add its map and distances; return how many damaged rows were left out.

    Args:
        settings: the address of Milvus, and the type of index.
        store: the logos.
        request: what to build; its values for Annoy are ignored.
        as_indexed: index only the logos that the Annoy index in the same directory contains.
    """
    plan = CollectionPlan(
        settings.milvus.index,
        shards=settings.milvus.shards,
        replicas=settings.milvus.replicas,
        keep=request.keep,
        seed=request.seed or 0,
        resume=not request.fresh,
        patience_seconds=settings.milvus.build_seconds,
        grace_seconds=2 * settings.reload_seconds,
    )
    only = _annoys_logos(request) if as_indexed else None
    milvus = milvus_of(settings.milvus)
    with progress("sending logos", len(store)) as advance:
        build = CollectionBuild(milvus, store, request.directory, plan, progress=advance, only=only)
        collection = build.run(wait=request.wait)
    same_weights = build.before is not None and build.before.record.weights_digest == store.stamp.digest
    ids = store.ids() if only is None else only
    add_collection_files(
        request, collection.stamp, build.searched(collection), ids, store.vectors, progress, from_earlier=same_weights
    )
    return build.damaged


def _annoys_logos(request: BuildRequest) -> NDArray[np.int64]:
    source = current_generation(request.directory) or request.directory
    try:
        return LogoIds.parse(read_regular(source / TXT_NAME)).all()
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{source} contains no Annoy index whose logos could be used: {error}") from error
