"""Build an index of all stored logos and publish it, or write the original's pair of files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from index.annoy.build import Blocks, build_index, build_pair
from index.annoy.build import estimated_size as full_size
from index.distances.survey import SEARCHED, add_survey
from index.errors import IndexDamagedError
from index.files.generations import current_generation, publish
from index.files.logo_ids import LogoIds
from index.files.manifest import TXT_NAME, ListsRecord, Manifest, read_manifest
from index.files.regular_file import read_regular
from index.lists.build import Source, build_lists
from index.lists.plan import LISTS_FROM, ListsPlan
from index.loading import load_index
from index.map.logo_map import FEWEST_LOGOS, add_map, earlier_map
from index.map.map_file import LogoMap
from index.map.tsne import STEPS
from index.protocol import Vectors
from index.sample import SIZE as SAMPLE_SIZE
from index.sample import Sample
from index.stage import Stage, may_fail

logger = logging.getLogger(__name__)

KEPT_ROWS = ".kept"  # in the directory of an index
TREES = 100  # over vectors, as in the original


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
class ForestPlan:
    """Trees over the vectors themselves.

    Attributes:
        logos: how many there are.
        dim: the number of values in a vector.
        trees: number of Annoy's trees.
        why: why the index has no lists.
    """

    logos: int
    dim: int
    trees: int
    why: str

    @property
    def estimated_size(self) -> int:
        """The approximate size of the index in bytes."""
        return full_size(self.logos, self.dim, self.trees)

    @property
    def reason(self) -> str:
        """One line that says what was chosen, and why."""
        return f"{self.trees} trees over the vectors of {self.logos:,} logos, {self.why}"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        directory: of the index; or of the original's pair of files, if `pair`.
        pair: write the original's pair of files instead of a generation; see `index.annoy.build.build_pair`.
        trees: of the index; `None` uses the default of its kind.
        no_reduce: grow the trees over the vectors themselves, however many logos there are.
        seed: with one job, the same seed gives the same bytes.
        jobs: threads that build; `None` means one if there is a seed, else one per processor.
        on_disk: grow the trees in the file itself, for stores that do not fit into memory.
        keep: number of generations to keep, including the new one.
        wait: whether to wait for another build of the same index.
        fresh: use nothing that earlier builds kept.
        map_points: the largest number of logos on the map; 0 draws none.
        compare: how many logos of a large index to find near duplicates of; 0 measures no distances.
        model_name: the model that made the vectors; empty if unknown.
        weights_digest: of its weights; empty if unknown.
    """

    directory: Path
    pair: bool = False
    trees: int | None = None
    no_reduce: bool = False
    seed: int | None = None
    jobs: int | None = None
    on_disk: bool = False
    keep: int = 2
    wait: bool = True
    fresh: bool = False
    map_points: int = 0
    compare: int = SEARCHED
    model_name: str = ""
    weights_digest: str = ""

    def plan(self, logos: int, dim: int) -> ListsPlan | ForestPlan:
        """Return which index to build for a number of logos with vectors of `dim` values."""
        if self.pair or self.no_reduce:
            return ForestPlan(logos, dim, self.trees or TREES, "as asked for")
        if logos < LISTS_FROM:
            return ForestPlan(logos, dim, self.trees or TREES, f"because there are fewer than {LISTS_FROM:,}")
        return ListsPlan.of(logos, dim, trees=self.trees)


def describe(request: BuildRequest, store: LogoSource) -> str:
    """Return a sentence that says what `build` would do."""
    plan = request.plan(len(store), store.dim)
    return (
        f"would index {len(store)} logos of {store.dim} values with {plan.trees} trees into {request.directory}:"
        f" about {plan.estimated_size / 1e6:.0f} MB ({plan.reason})"
    )


def build(request: BuildRequest, store: LogoSource, stage: Stage) -> int:
    """Build an index of the stored logos; return how many were skipped because their rows are damaged.

    A generation is published before its map is drawn and its distances are measured. If either fails, the log says so,
    and the build succeeds.

    Raises:
        BuildInProgressError: another build of the index is running, and the request does not wait.
        IndexBuildError: there is nothing to index, a value of the request is out of range, or the disk is full.
    """
    plan = request.plan(len(store), store.dim)
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
    if request.compare:
        _measure_distances(generation, request, store, stage)
    return writer.damaged


class _IndexWriter:
    """Writes the files of one index.

    Attributes:
        items: number of logos indexed.
        damaged: number of logos skipped because their rows are damaged.
    """

    def __init__(self, request: BuildRequest, store: LogoSource, plan: ListsPlan | ForestPlan, stage: Stage) -> None:
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
        }
        self._origin: dict[str, Any] = {"model_name": request.model_name, "weights_digest": request.weights_digest}

    def write_pair(self) -> Manifest:
        return self._full(build_pair, self._request.directory, wait=self._request.wait)

    def write_generation(self, directory: Path) -> Manifest:
        snapshot = self._store.snapshot()  # only now: the build may have waited for another one
        if isinstance(self._plan, ForestPlan):
            sample = Sample(*snapshot.sample(SAMPLE_SIZE, self._request.seed or 0))
            return self._full(build_index, directory, snapshot, sample=sample, **self._origin)
        manifest = build_lists(
            directory,
            snapshot,
            self._store.vectors,
            self._request.directory / KEPT_ROWS,
            fresh=self._request.fresh,
            last=_lists_of_current(self._request.directory),
            stage=self._stage,
            **self._options,
            **self._origin,
        )
        return self._done(manifest, snapshot)

    def _full(
        self, write: Callable[..., Manifest], directory: Path, snapshot: Snapshot | None = None, **more: Any
    ) -> Manifest:
        snapshot = snapshot or self._store.snapshot()
        of_store = {"dim": snapshot.dim, "rows": len(snapshot), "on_disk": self._request.on_disk}
        with self._stage("reading logos", len(snapshot)) as advance:
            manifest = write(directory, snapshot.blocks(), progress=advance, **of_store, **self._options, **more)
        return self._done(manifest, snapshot)

    def _done(self, manifest: Manifest, snapshot: Snapshot) -> Manifest:
        self.items, self.damaged = manifest.items, snapshot.damaged
        return manifest


def _lists_of_current(directory: Path) -> ListsRecord | None:
    """Return what the published index of lists is made of; `None` if there is none that can be read."""
    generation = current_generation(directory)
    try:
        return None if generation is None else read_manifest(generation).lists
    except IndexDamagedError:
        return None


def _draw_map(
    generation: Path, request: BuildRequest, store: LogoSource, earlier: LogoMap | None, stage: Stage
) -> None:
    """Put a map into a published generation; the build succeeds even if this fails."""
    with may_fail(generation, "map"), stage("drawing the map", STEPS) as advance:
        add_map(
            generation,
            store.vectors,
            max_points=request.map_points,
            earlier=earlier,
            seed=request.seed or 0,
            progress=advance,
        )


def _measure_distances(generation: Path, request: BuildRequest, store: LogoSource, stage: Stage) -> None:
    """Put a survey of distances into a published generation; the build succeeds even if this fails."""
    with may_fail(generation, "survey of distances"):
        ids = LogoIds.parse(read_regular(generation / TXT_NAME)).all()
        index = load_index(generation, dim=store.dim, vectors=store.vectors)
        add_survey(generation, index, ids, store.vectors, searched=request.compare, stage=stage)
