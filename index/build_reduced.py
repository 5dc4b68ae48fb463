"""Vectors to the files of a reduced index (see `index.reduced_engine`), reading only what no build has read before.

1.  Take up the rows that earlier builds kept (`index.kept_rows`), or draw a sample and find the principal components.
2.  Read the vectors of the logos that have no row yet, and make their rows. Every `CHECKPOINT` rows they are made
    durable, so a build that is killed loses no more than that.
3.  Give the rows, in stored order, to Annoy and to `index.records`; grow the trees.
4.  Measure recall, and the effort that it takes.

All is begun anew when there are twice as many logos as the components were found from, when a third of the rows are of
logos that are gone, or when a quarter of those that recall is measured on are gone or changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Protocol

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from durable import READABLE, sync_directory, sync_file
from index import sample as samples
from index.annoy.build import About, Blocks, Growth, check_room, checked_ids, describe
from index.annoy.build import estimated_size as tree_size
from index.annoy.engine import Effort
from index.annoy.file_check import node_size
from index.errors import IndexBuildError
from index.files.logo_ids import LogoIds
from index.files.manifest import COMPONENTS_NAME, RECORDS_NAME, FileRecord, Manifest, ReductionRecord, write_manifest
from index.files.verification import digest_of, verify_files
from index.kept_rows import KeptRows, Origin
from index.protocol import Vectors
from index.recall import tune
from index.reduced_engine import ReducedSearchIndex
from index.reduction import CODE_DIM, TREE_DIM, Reduction, record_bytes
from index.sample import Sample
from index.vectors import MAX_LENGTH, usable_rows

logger = logging.getLogger(__name__)

CHECKPOINT = 2**18
"""Rows between two moments at which they are made durable: some ten seconds of work."""

_ROWS_AT_ONCE = 2**14


class Source(Protocol):
    """The logos to index, as they are at one moment.

    Attributes:
        ids: (n,) in the order that the items will have.
        dim: the number of values of a vector.
    """

    ids: NDArray[np.int64]
    dim: int

    def sample(self, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Draw logos at random: ids and vectors."""

    def checksums(self) -> NDArray[np.uint32]:
        """Answer a checksum of each logo's id and vector, (n,)."""

    def blocks_of(self, places: NDArray[np.int64]) -> Blocks:
        """Answer the ids and vectors at ascending places, but for those that are damaged."""


def build_reduced(
    directory: Path,
    source: Source,
    vectors: Vectors,
    kept_in: Path,
    *,
    trees: int,
    seed: int | None = None,
    jobs: int = -1,
    on_disk: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
    model_name: str = "",
    weights_digest: str = "",
    fresh: bool = False,
) -> Manifest:
    """Write `index.bin`, `index.txt`, `index.records`, `index.components.npy` and `index.json`, all synced.

    Args:
        directory: exists, and holds no index.
        source: what to index. A vector that no distance can be computed from is left out.
        vectors: gives the vectors of logos, from where the service will have them, too.
        kept_in: a directory for what the next build can use again, made if missing.
        trees: as for `index.annoy.build.build_index`.
        seed: as for `build_index`; and nothing of earlier builds is used, on which the bytes would depend.
        jobs: as for `build_index`.
        on_disk: as for `build_index`.
        progress: is told the number of logos just read, or found among the rows that were kept.
        model_name: as for `build_index`.
        weights_digest: as for `build_index`; rows of other weights are not used again.
        fresh: use nothing of earlier builds, whatever the seed.

    Raises:
        IndexBuildError: as for `build_index`.
    """
    plan = Growth(trees, seed, jobs, on_disk)
    plan.check(len(source.ids))
    about = About(source.dim, model_name, weights_digest, len(source.ids))
    try:
        check_room(directory, estimated_size(len(source.ids), source.dim, trees))
        with _taken_up(kept_in, source, Origin(source.dim, weights_digest), seed, fresh=fresh) as kept:
            places = _read_missing(kept, source, Origin(source.dim, weights_digest), progress)
            annoy = plan.begin(directory, kept.reduction.tree_dim)
            logo_ids = _add_items(annoy, directory / RECORDS_NAME, kept, places)
        plan.grow(annoy, directory, len(logo_ids))
        reduction = _write_reduction(directory, kept.reduction)
        manifest = describe(directory, plan, about, logo_ids, reduction)
        files = verify_files(directory, dim=source.dim)

        def with_effort(effort: int) -> ReducedSearchIndex:
            return ReducedSearchIndex.of(directory, files, Effort(measured=effort, reduced=True), vectors)

        recall = tune(kept.truth, with_effort)
        manifest = replace(manifest, recall=recall)
        write_manifest(directory, manifest)
        sync_directory(directory)
    except OSError as error:
        raise IndexBuildError(f"{directory}: {error}") from error
    return manifest


def estimated_size(rows: int, dim: int, trees: int) -> int:
    """Answer about how many bytes the files of an index and the kept rows will have."""
    tree_dim, record = min(TREE_DIM, dim), record_bytes(min(CODE_DIM, dim))
    return tree_size(rows, tree_dim, trees) + rows * (2 * record + node_size(tree_dim))


def _taken_up(directory: Path, source: Source, origin: Origin, seed: int | None, *, fresh: bool) -> KeptRows:
    kept = None if fresh or seed is not None else KeptRows.load(directory, origin)
    logos = len(source.ids)
    if kept is not None:
        asked = kept.truth.logo_ids
        lost = np.union1d(np.setdiff1d(asked, source.ids), np.intersect1d(asked, _changed(kept, source)))
        if logos <= 2 * kept.fitted_to and len(kept) <= 1.5 * logos and len(lost) <= len(asked) / 4:
            return kept
        kept.close()
    directory.mkdir(parents=True, exist_ok=True)
    KeptRows.discard(directory)
    sample = Sample(*source.sample(samples.SIZE, seed or 0)).usable()
    return KeptRows(directory, Reduction.fit(sample.vectors), sample.truth(), logos)


def _read_missing(kept: KeptRows, source: Source, origin: Origin, progress: Callable[[int], None]) -> NDArray[np.int64]:
    """Make rows of the logos that have none, and answer the row of each logo that can be indexed, (m,)."""
    checksums = source.checksums()
    places = _places(kept, source.ids, checksums)
    missing = np.flatnonzero(places < 0)
    if len(missing) < len(places):
        logger.info("%d of %d logos were read by an earlier build", len(places) - len(missing), len(places))
        progress(len(places) - len(missing))
        kept.truth.forget(_changed(kept, source))
    saved, unusable = len(kept), 0
    order = np.argsort(source.ids)
    for ids, vectors in source.blocks_of(missing):
        usable = usable_rows(vectors)
        unusable += int(np.count_nonzero(~usable))
        if usable.any():
            at = order[np.searchsorted(source.ids, ids[usable], sorter=order)]
            kept.add(ids[usable], checksums[at], np.asarray(vectors[usable], np.float32))
        progress(len(ids))
        if len(kept) - saved >= CHECKPOINT:
            kept.save(origin)
            saved = len(kept)
    kept.save(origin)
    if unusable:
        logger.warning("%d vectors are left out: not finite, or longer than %.2g", unusable, MAX_LENGTH)
    places = _places(kept, source.ids, checksums)
    return places[places >= 0]


def _changed(kept: KeptRows, source: Source) -> NDArray[np.int64]:
    """Answer the logos whose row was made of another vector, (m,)."""
    without = source.ids[_places(kept, source.ids, source.checksums()) < 0]
    return without[np.isin(without, kept.keys()[0])]


def _places(kept: KeptRows, ids: NDArray[np.int64], checksums: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Answer the last row of each logo, (n,), or -1 where it has none or one of another vector."""
    if not len(kept):
        return np.full(len(ids), -1)
    kept_ids, kept_checksums = kept.keys()
    order = np.argsort(kept_ids, kind="stable")
    last = np.searchsorted(kept_ids, ids, side="right", sorter=order) - 1
    found = order[np.maximum(last, 0)]
    same = (last >= 0) & (kept_ids[found] == ids) & (kept_checksums[found] == checksums)
    return np.where(same, found, -1)


def _add_items(annoy: AnnoyIndex, records: Path, kept: KeptRows, places: NDArray[np.int64]) -> LogoIds:
    added = []
    rows = kept.rows
    with records.open("wb") as file:
        for first in range(0, len(places), _ROWS_AT_ONCE):
            of_block = rows[places[first : first + _ROWS_AT_ONCE]]
            file.write(np.ascontiguousarray(of_block["record"]).data)
            for item, vector in enumerate(np.ascontiguousarray(of_block["projected"]), start=first):
                annoy.add_item(item, vector.data)
            added.append(np.array(of_block["id"], np.int64))
    return checked_ids(added, len(places))


def _write_reduction(directory: Path, reduction: Reduction) -> ReductionRecord:
    reduction.save(directory / COMPONENTS_NAME)
    sync_file(directory / RECORDS_NAME, mode=READABLE)
    return ReductionRecord(
        tree_dim=reduction.tree_dim,
        code_dim=reduction.code_dim,
        scale=reduction.scale,
        components=_record_of(directory / COMPONENTS_NAME),
        records=_record_of(directory / RECORDS_NAME),
    )


def _record_of(path: Path) -> FileRecord:
    with FileIO(path) as file:
        return FileRecord(path.stat().st_size, digest_of(file))
