"""Build an index of all stored logos and publish it, or write the original's pair of files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from index.annoy.build import Blocks, build_index, build_pair
from index.annoy.build import estimated_size as full_size
from index.build_reduced import Source, build_reduced
from index.build_reduced import estimated_size as reduced_size
from index.files.generations import current_generation, publish
from index.files.manifest import Manifest
from index.map.logo_map import FEWEST_LOGOS, add_map, earlier_map
from index.map.map_file import LogoMap
from index.map.tsne import STEPS
from index.plan import IndexPlan, plan_index
from index.protocol import Vectors
from index.sample import SIZE as SAMPLE_SIZE
from index.sample import Sample

logger = logging.getLogger(__name__)

KEPT_ROWS = ".kept"  # in the directory of an index

Stage = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows the progress of a part of a build. It is called with a description of the part and its number of steps, and
yields a function to call with the number of steps just done."""


class Snapshot(Source, Protocol):
    """The logos to index, as they are at one moment.

    Attributes:
        damaged: how many logos the last pass skipped, because their rows are damaged.
    """

    damaged: int

    def __len__(self) -> int: ...

    def blocks(self) -> Blocks:
        """Return the ids and vectors of all logos, except those that are damaged."""


class LogoSource(Protocol):
    """The store of the logos."""

    @property
    def dim(self) -> int:
        """The number of values in a vector."""

    @property
    def vectors(self) -> Vectors:
        """Returns the vectors of logos."""

    def __len__(self) -> int: ...

    def snapshot(self) -> Snapshot:
        """Return the logos that are stored now."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        directory: of the index; or of the original's pair of files, if `pair`.
        pair: write the original's pair of files instead of a generation; see `index.annoy.build.build_pair`.
        trees: of the index; `None` uses the default of its kind.
        reduce: build a reduced index, or a full one; `None` decides by the number of logos.
        seed: with one job, the same seed gives the same bytes.
        jobs: threads that build; `None` means one if there is a seed, else one per processor.
        on_disk: grow the trees in the file itself, for stores that do not fit into memory.
        keep: number of generations to keep, including the new one.
        wait: whether to wait for another build of the same index.
        fresh: use nothing that earlier builds kept.
        map_points: the largest number of logos on the map; 0 draws none.
        model_name: the model that made the vectors; empty if unknown.
        weights_digest: of its weights; empty if unknown.
    """

    directory: Path
    pair: bool = False
    trees: int | None = None
    reduce: bool | None = None
    seed: int | None = None
    jobs: int | None = None
    on_disk: bool = False
    keep: int = 2
    wait: bool = True
    fresh: bool = False
    map_points: int = 0
    model_name: str = ""
    weights_digest: str = ""

    def plan(self, logos: int) -> IndexPlan:
        """Return which index to build for a number of logos."""
        return plan_index(logos, trees=self.trees, reduce=False if self.pair else self.reduce)


def describe(request: BuildRequest, store: LogoSource) -> str:
    """Return a sentence that says what `build` would do."""
    plan = request.plan(len(store))
    size = (reduced_size if plan.reduce else full_size)(len(store), store.dim, plan.trees)
    return (
        f"would index {len(store)} logos of {store.dim} values with {plan.trees} trees into {request.directory}:"
        f" about {size / 1e6:.0f} MB ({plan.reason})"
    )


def build(request: BuildRequest, store: LogoSource, stage: Stage) -> int:
    """Build an index of the stored logos; return how many were skipped because their rows are damaged.

    A generation is published before its map is drawn. If the map fails, the log says so, and the build succeeds.

    Raises:
        BuildInProgressError: another build of the index is running, and the request does not wait.
        IndexBuildError: there is nothing to index, a value of the request is out of range, or the disk is full.
    """
    plan = request.plan(len(store))
    logger.info("%s", plan.reason)
    writer = _IndexWriter(request, store, plan, stage)
    if request.pair:
        manifest = writer.write_pair()
        logger.info("wrote %d logos to %s", manifest.items, request.directory)
        if current_generation(request.directory) is not None:
            logger.warning("%s has generations, which are served instead of this pair", request.directory)
        return writer.damaged
    # Read now, because it may be removed with its generation.
    earlier = earlier_map(request.directory, weights_digest=request.weights_digest) if request.map_points else None
    generation = publish(request.directory, writer.write_generation, keep=request.keep, wait=request.wait)
    if request.map_points and writer.items >= FEWEST_LOGOS:
        _draw_map(generation, request, store, earlier, stage)
    return writer.damaged


class _IndexWriter:
    """Writes the files of one index.

    Attributes:
        items: number of logos indexed.
        damaged: number of logos skipped because their rows are damaged.
    """

    def __init__(self, request: BuildRequest, store: LogoSource, plan: IndexPlan, stage: Stage) -> None:
        self.items = 0
        self.damaged = 0
        self._request = request
        self._store = store
        self._plan = plan
        self._stage = stage
        self._options: dict[str, Any] = {
            "trees": plan.trees,
            "seed": request.seed,
            "jobs": request.jobs or (1 if request.seed is not None else -1),
            "on_disk": request.on_disk,
        }
        self._origin: dict[str, Any] = {"model_name": request.model_name, "weights_digest": request.weights_digest}

    def write_pair(self) -> Manifest:
        return self._full(build_pair, self._request.directory, wait=self._request.wait)

    def write_generation(self, directory: Path) -> Manifest:
        snapshot = self._store.snapshot()  # only now: the build may have waited for another one
        if not self._plan.reduce:
            sample = Sample(*snapshot.sample(SAMPLE_SIZE, self._request.seed or 0))
            return self._full(build_index, directory, snapshot, sample=sample, **self._origin)
        with self._stage("reading logos", len(snapshot)) as advance:
            manifest = build_reduced(
                directory,
                snapshot,
                self._store.vectors,
                self._request.directory / KEPT_ROWS,
                fresh=self._request.fresh,
                progress=advance,
                **self._options,
                **self._origin,
            )
        return self._done(manifest, snapshot)

    def _full(
        self, write: Callable[..., Manifest], directory: Path, snapshot: Snapshot | None = None, **more: Any
    ) -> Manifest:
        snapshot = snapshot or self._store.snapshot()
        size = {"dim": snapshot.dim, "rows": len(snapshot)}
        with self._stage("reading logos", len(snapshot)) as advance:
            manifest = write(directory, snapshot.blocks(), progress=advance, **size, **self._options, **more)
        return self._done(manifest, snapshot)

    def _done(self, manifest: Manifest, snapshot: Snapshot) -> Manifest:
        self.items, self.damaged = manifest.items, snapshot.damaged
        return manifest


def _draw_map(
    generation: Path, request: BuildRequest, store: LogoSource, earlier: LogoMap | None, stage: Stage
) -> None:
    """Put a map into a published generation; the build succeeds even if this fails."""
    try:
        with stage("drawing the map", STEPS) as advance:
            add_map(
                generation,
                store.vectors,
                max_points=request.map_points,
                earlier=earlier,
                seed=request.seed or 0,
                progress=advance,
            )
    except Exception:
        logger.exception("%s has no map; the next generation will have one", generation)
