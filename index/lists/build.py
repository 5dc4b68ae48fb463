"""Build the files of an index of lists (see `index.lists.engine`), reading only logos that no earlier build has read.

1.  Load the rows that earlier builds kept (`index.lists.kept_rows`), or draw a sample and find the components.
2.  Read the vectors of the logos that have no row yet, and make their rows. These are synced every `CHECKPOINT` rows: a
    killed build loses no more than that.
3.  Find the centres of the lists from some of the rows, and train the codes.
4.  Write the records in stored order, and compute a code for each logo from the components in its record.
5.  Measure recall, and find the effort that it needs.

A build starts from nothing if there are twice as many logos as when the components were found, if a third of the rows
belong to logos that are gone, or if a quarter of the logos that recall is measured on are gone or changed. Centres and
codes are computed in every build: that takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from durable import READABLE, sync_directory, sync_file
from index import sample as samples
from index.annoy.build import About, Growth, check_room, checked_ids, describe
from index.errors import IndexBuildError
from index.files.digests import record_of
from index.files.logo_ids import LogoIds
from index.files.manifest import (
    BIN_NAME,
    CODES_NAME,
    COMPONENTS_NAME,
    RECORDS_NAME,
    VECTORS_NAME,
    ListsRecord,
    Manifest,
    write_manifest,
)
from index.lists.centres import SAMPLE_A_LIST, Centres, find_centres
from index.lists.codes import TRAINED_ON, Codes
from index.lists.kept_rows import KeptRows, MadeRows, Origin
from index.lists.measure import measured
from index.lists.plan import ListsPlan
from index.lists.records import RecordFormat, record_components
from index.lists.vectors_file import write_vectors
from index.protocol import Vectors
from index.sample import Sample
from index.stage import Stage
from index.threads import in_order
from index.vectors import MAX_LENGTH, usable_rows

logger = logging.getLogger(__name__)

CHECKPOINT = 2**18
"""Number of rows between two syncs: about ten seconds of work."""

_ROWS_AT_ONCE = 2**14


PlacedBlocks = Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]
"""Some logos at a time: their places in the ids of a source, (n,), their ids, (n,), and their vectors, (n, dim)."""


class Source(Protocol):
    """The logos to index, as they are at one moment.

    Attributes:
        ids: (n,) in item order.
        dim: the number of values in a vector.
    """

    ids: NDArray[np.int64]
    dim: int

    def sample(self, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Draw logos at random: ids and vectors."""

    def checksums(self) -> NDArray[np.uint32]:
        """Return a checksum of each logo's id and vector, (n,)."""

    def blocks_of(self, places: NDArray[np.int64]) -> PlacedBlocks:
        """Return places, ids and vectors of the logos at ascending places, except those that are damaged."""


def build_lists(
    directory: Path,
    source: Source,
    vectors: Vectors,
    kept_in: Path,
    *,
    trees: int | None = None,
    seed: int | None = None,
    jobs: int = -1,
    stage: Stage = lambda doing, total: nullcontext(lambda done: None),
    model_name: str = "",
    weights_digest: str = "",
    fresh: bool = False,
    last: ListsRecord | None = None,
) -> Manifest:
    """Write the files of an index of lists, all synced.

    Args:
        directory: exists, and holds no index.
        source: the logos to index. A vector that no distance can be computed from is skipped.
        vectors: returns the vectors of logos, from the same store as in the service.
        kept_in: a directory for what the next build can reuse, created if missing.
        trees: number of trees that Annoy grows over the centres; `None` for the default.
        seed: as for `build_index`. With a seed, rows of earlier builds are not reused: the bytes would depend on them.
        jobs: threads that build; -1 means one per processor.
        stage: shows progress.
        model_name: as for `build_index`.
        weights_digest: as for `build_index`; rows of other weights are not reused.
        fresh: whether to reuse nothing of earlier builds.
        last: of the index that this one replaces. If rows are reused, so is its effort if it finds enough.

    Raises:
        IndexBuildError: as for `build_index`.
    """
    plan = ListsPlan.of(len(source.ids), source.dim, trees=trees)
    growth = Growth(plan.trees, seed, jobs, on_disk=False)
    growth.check(len(source.ids))
    origin = Origin(source.dim, weights_digest)
    try:
        check_room(directory, plan.estimated_size)
        checksums = source.checksums()
        kept, places = _taken_up(kept_in, source, checksums, origin, seed, fresh=fresh)
        with kept:
            last = last if len(kept) else None
            places = _read_missing(kept, places, source, checksums, origin, growth.threads, stage)
            plan = ListsPlan.of(len(places), source.dim, trees=trees)
            logo_ids, record = _write_lists(directory, kept, places, plan, growth, stage)
            if plan.copied:
                write_vectors(directory / VECTORS_NAME, vectors, logo_ids.all())
                record = replace(record, vectors=record_of(directory / VECTORS_NAME))
        about = About(source.dim, model_name, weights_digest, len(source.ids))
        manifest = describe(directory, growth, about, logo_ids, record)
        manifest = measured(directory, manifest, last, kept.truth, vectors, jobs=growth.threads, stage=stage)
        write_manifest(directory, manifest)
        sync_directory(directory)
    except OSError as error:
        raise IndexBuildError(f"{directory}: {error}") from error
    return manifest


def _taken_up(
    directory: Path,
    source: Source,
    checksums: NDArray[np.uint32],
    origin: Origin,
    seed: int | None,
    *,
    fresh: bool,
) -> tuple[KeptRows, NDArray[np.int64]]:
    """Return the rows of earlier builds, or none, and the place of the row of each logo, (n,); -1 if it has none."""
    kept = None if fresh or seed is not None else KeptRows.load(directory, origin)
    logos = len(source.ids)
    if kept is not None:
        asked, places = kept.truth.logo_ids, _places(kept, source.ids, checksums)
        changed = _changed(kept, source.ids, places)
        lost = np.union1d(np.setdiff1d(asked, source.ids), np.intersect1d(asked, changed))
        if logos <= 2 * kept.fitted_to and len(kept) <= 1.5 * logos and len(lost) <= len(asked) / 4:
            kept.truth.forget(changed)
            return kept, places
        kept.close()
    directory.mkdir(parents=True, exist_ok=True)
    KeptRows.discard(directory)
    sample = Sample(*source.sample(samples.SIZE, seed or 0)).usable()
    made = RecordFormat.fit(sample.vectors, record_components(logos))
    return KeptRows(directory, made, sample.truth(), logos), np.full(logos, -1)


def _read_missing(
    kept: KeptRows,
    places: NDArray[np.int64],
    source: Source,
    checksums: NDArray[np.uint32],
    origin: Origin,
    threads: int,
    stage: Stage,
) -> NDArray[np.int64]:
    """Make rows for the logos that have none; return the place of the row of each logo that can be indexed, (m,)."""
    missing = np.flatnonzero(places < 0)
    if len(missing) < len(places):
        logger.info("%d of %d logos were read by an earlier build", len(places) - len(missing), len(places))

    def made(
        block: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    ) -> tuple[NDArray[np.int64], MadeRows, int]:
        at, ids, vectors = block
        usable, read = usable_rows(vectors), len(ids)
        if not usable.all():
            at, ids, vectors = at[usable], ids[usable], vectors[usable]
        return at, kept.made_of(ids, checksums[at], np.asarray(vectors, np.float32)), read

    saved, unusable = len(kept), 0
    with stage("reading logos", len(missing)) as progress:
        for at, rows, read in in_order(made, source.blocks_of(missing), threads):
            places[at] = len(kept) + np.arange(len(rows))
            kept.add(rows)
            unusable += read - len(rows)
            progress(read)
            if len(kept) - saved >= CHECKPOINT:
                kept.save(origin)
                saved = len(kept)
    kept.save(origin)
    if unusable:
        logger.warning("%d vectors are left out: not finite, or longer than %.2g", unusable, MAX_LENGTH)
    return places[places >= 0]


def _changed(kept: KeptRows, ids: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids of logos whose row was made from another vector, (m,)."""
    without = ids[places < 0]
    return without[np.isin(without, kept.keys()[0])]


def _places(kept: KeptRows, ids: NDArray[np.int64], checksums: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the place of the last row of each logo, (n,); -1 if it has none, or one made from another vector."""
    if not len(kept):
        return np.full(len(ids), -1)
    kept_ids, kept_checksums = kept.keys()
    of_kept, of_ids = np.argsort(kept_ids, kind="stable"), np.argsort(ids, kind="stable")
    last = np.searchsorted(kept_ids[of_kept], ids[of_ids], side="right") - 1  # in order: a fifth of the time
    found = np.empty(len(ids), np.int64)
    found[of_ids] = np.where(last >= 0, of_kept[last], -1)
    same = (found >= 0) & (kept_ids[found] == ids) & (kept_checksums[found] == checksums)
    return np.where(same, found, -1)


def _write_lists(
    directory: Path, kept: KeptRows, places: NDArray[np.int64], plan: ListsPlan, growth: Growth, stage: Stage
) -> tuple[LogoIds, ListsRecord]:
    """Write all files except `index.txt` and `index.json`; return the ids of the items and the manifest's record."""
    if not len(places):
        raise IndexBuildError("nothing to index")
    made, rows = kept.made, kept.rows
    rng = np.random.default_rng(growth.seed or 0)
    some = rng.permutation(len(places))[: max(TRAINED_ON, SAMPLE_A_LIST * plan.lists)]
    logger.info("finding the centres of %d lists", plan.lists)
    records = rows[np.sort(places[some])]["record"]
    points = made.decode(records, plan.coded)
    centres = find_centres(points, plan.lists, growth.seed or 0)
    Centres.write(directory / BIN_NAME, centres, trees=growth.trees, seed=growth.seed, jobs=growth.jobs)
    sync_file(directory / BIN_NAME, mode=READABLE)
    codes = Codes.train(points, made.rests(records, points), centres, jobs=growth.threads)
    logo_ids = _code(directory / RECORDS_NAME, kept, places, plan.coded, codes, stage)
    made.save(directory / COMPONENTS_NAME)
    codes.save(directory / CODES_NAME)
    return logo_ids, ListsRecord(
        count=len(centres),
        coded=plan.coded,
        recorded=len(made.components),
        effort=replace(plan.least_effort, probed=min(plan.least_effort.probed, len(centres))),
        components=record_of(directory / COMPONENTS_NAME),
        records=record_of(directory / RECORDS_NAME),
        codes=record_of(directory / CODES_NAME),
    )


def _code(path: Path, kept: KeptRows, places: NDArray[np.int64], coded: int, codes: Codes, stage: Stage) -> LogoIds:
    """Write the records of the logos, sync them, and add a code for each; return the ids."""
    rows, made = kept.rows, kept.made

    def decoded(some: NDArray[np.int64]) -> tuple[NDArray[np.void], NDArray[np.uint8], NDArray[np.float32]]:
        of_block = rows[some]
        records = np.ascontiguousarray(of_block["record"])
        return of_block, records, made.decode(records, coded)

    ids = []
    blocks = (places[first : first + _ROWS_AT_ONCE] for first in range(0, len(places), _ROWS_AT_ONCE))
    with path.open("wb") as file, stage("coding logos", len(places)) as progress:
        for of_block, records, points in in_order(decoded, blocks, 1):  # meanwhile, `add` uses the other processors
            file.write(records.data)
            codes.add(points, made.rests(records, points))
            ids.append(np.array(of_block["id"], np.int64))
            progress(len(points))
    sync_file(path, mode=READABLE)
    return checked_ids(ids, len(places))
