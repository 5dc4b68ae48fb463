"""Vectors to the files of an index.

`build_index` writes the three files of a generation, `build_pair` the two files of the original. Annoy wants
all vectors before it grows trees over them, and tells nothing of how far it is with those.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from index.annoy_engine import AnnoySearchIndex, Effort
from index.annoy_file import check_annoy_file, node_size
from index.build_lock import build_lock
from index.durable import sync_directory, sync_file, write_file
from index.errors import IndexBuildError
from index.items import Items
from index.logo_ids import LogoIds
from index.manifest import (
    BIN_NAME,
    COMPONENTS_NAME,
    RECORDS_NAME,
    TXT_NAME,
    FileRecord,
    Manifest,
    ReductionRecord,
    write_manifest,
)
from index.protocol import SearchIndex, Vectors
from index.recall import QUERIES, Recall, Truth, tune
from index.reduced_engine import ReducedSearchIndex
from index.reduction import CODE_DIM, TREE_DIM, Reduction, record_bytes
from index.vectors import usable_rows
from index.verification import digest_of, verify_files

logger = logging.getLogger(__name__)

Blocks = Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]
"""Parts of what is indexed: ids `(m,)` and vectors `(m, dim)`, of any length each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the logos that are going to be indexed, drawn at random: ids (n,) and vectors (n, dim)."""

    logo_ids: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def usable(self) -> Sample:
        """Leave out those that are going to be left out of the index.

        Raises:
            IndexBuildError: these are all.
        """
        usable = usable_rows(self.vectors)
        if not usable.any():
            raise IndexBuildError("nothing to index: no vector of a sample is finite and short enough")
        return Sample(self.logo_ids[usable], self.vectors[usable])

    def queries(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Take every so-manieth of them, `QUERIES` in all."""
        some = slice(0, None, max(1, len(self.logo_ids) // QUERIES))
        return self.logo_ids[some][:QUERIES], self.vectors[some][:QUERIES]


def build_index(
    directory: Path,
    blocks: Blocks,
    *,
    dim: int,
    rows: int,
    trees: int = 100,
    seed: int | None = None,
    jobs: int = -1,
    on_disk: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
    model_name: str = "",
    weights_digest: str = "",
    stored_rows: int | None = None,
    sample: Sample | None = None,
    reduced_for: Vectors | None = None,
) -> Manifest:
    """Write `index.bin`, `index.txt` and `index.json` into a directory, all synced; and two more if it is reduced.

    A vector that no distance can be computed from is left out, and the log says how many were.

    Args:
        directory: exists, and holds no index.
        blocks: what to index, in the order that the items will have.
        dim: the number of values of a vector.
        rows: how many logos `blocks` will give, as far as is known; for telling early that there is too little room.
        trees: more find more of the nearest, and take more time and room.
        seed: with one job, the same seed gives the same bytes; `None` leaves it to Annoy.
        jobs: threads that grow trees; -1 for one per processor.
        on_disk: let the vectors lie on disk while the trees grow, not in memory.
        progress: is told the number of rows just read.
        model_name: the model that made the vectors, for the manifest; empty if unknown.
        weights_digest: of that model's weights, for the manifest; empty if unknown.
        stored_rows: logos in the store, for the manifest; by default `rows`.
        sample: what recall is measured on, and a reduction is made of; `None` measures nothing.
        reduced_for: gives the vectors of logos, from where the service will have them, too: then the trees are grown
            over principal components (see `index.reduced_engine`), for which a `sample` is needed.

    Raises:
        IndexBuildError: there is nothing to index, an id is not positive or there twice, an argument is out of
            range, or the disk has no room or refuses to write.
    """
    _check_arguments(rows=rows, trees=trees, seed=seed, jobs=jobs)
    try:
        _check_room(directory, estimated_size(rows, dim, trees, reduced=reduced_for is not None))
        sample = None if sample is None else sample.usable()
        reduction = None if reduced_for is None or sample is None else Reduction.fit(sample.vectors)
        truth = None if sample is None else Truth(*sample.queries())
        annoy = AnnoyIndex(dim if reduction is None else reduction.tree_dim, "euclidean")
        if seed is not None:
            annoy.set_seed(seed)
        if on_disk:
            annoy.on_disk_build(str(directory / BIN_NAME))
        with Items(annoy, directory, dim, reduction, truth) as items:
            for ids, vectors in blocks:
                items.add(ids, vectors)
                progress(len(ids))
        logo_ids = items.logo_ids()
        logger.info("growing %d trees over %d logos", trees, len(logo_ids))
        annoy.build(trees, jobs)
        if not on_disk:
            annoy.save(str(directory / BIN_NAME))
        tree_dim = annoy.f
        annoy.unload()
        sync_file(directory / BIN_NAME)
        manifest = Manifest(
            dim=dim,
            items=len(logo_ids),
            trees=trees,
            seed=seed,
            index_bin=_checked_bin(directory / BIN_NAME, tree_dim, len(logo_ids)),
            index_txt=_write_txt(directory / TXT_NAME, logo_ids),
            model=model_name,
            weights_digest=weights_digest,
            built_at=datetime.now(UTC).isoformat(timespec="seconds"),
            stored_rows=rows if stored_rows is None else stored_rows,
            reduction=None if reduction is None else _write_reduction(directory, reduction),
        )
        write_manifest(directory, manifest)
        if truth is not None:
            manifest = replace(manifest, recall=_measured(directory, dim, truth, reduced_for))
            write_manifest(directory, manifest)
        sync_directory(directory)
    except OSError as error:
        raise IndexBuildError(f"{directory}: {error}") from error
    return manifest


def build_pair(
    output: Path,
    blocks: Blocks,
    *,
    dim: int,
    rows: int,
    trees: int = 100,
    seed: int | None = None,
    jobs: int = -1,
    on_disk: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
    wait: bool = True,
) -> Manifest:
    """Write the original's pair of files: `index.bin` and `index.txt` in the directory `output`.

    The directory is made if missing. An `output` that ends in `.bin` is the one file itself, and the other
    lies beside it with `.txt`. Both are written elsewhere in the same directory and moved into place, so a
    service that has the old ones mapped goes on with those. In between there is no `.txt`, never one that
    belongs to another `.bin`. `wait` is for another build of the same pair; all else is as for `build_index`.

    Raises:
        BuildInProgressError: another build of the pair is under way, and `wait` is false.
        IndexBuildError: as for `build_index`.
    """
    bin_path = output if output.suffix == ".bin" else output / BIN_NAME
    txt_path = bin_path.with_suffix(".txt")
    directory = bin_path.parent
    directory.mkdir(parents=True, exist_ok=True)
    scratch_prefix = f".{bin_path.stem}.building-"
    with build_lock(directory / f".{bin_path.stem}.lock", wait=wait):
        for left_over in directory.glob(f"{scratch_prefix}*"):
            shutil.rmtree(left_over)
        with tempfile.TemporaryDirectory(prefix=scratch_prefix, dir=directory) as name:
            scratch = Path(name)
            manifest = build_index(
                scratch,
                blocks,
                dim=dim,
                rows=rows,
                trees=trees,
                seed=seed,
                jobs=jobs,
                on_disk=on_disk,
                progress=progress,
            )
            txt_path.unlink(missing_ok=True)
            sync_directory(directory)
            (scratch / BIN_NAME).replace(bin_path)
            sync_directory(directory)
            (scratch / TXT_NAME).replace(txt_path)
            sync_directory(directory)
    return manifest


def estimated_size(rows: int, dim: int, trees: int, *, reduced: bool = False) -> int:
    """Answer about how many bytes the files of an index will have.

    A tree over n items has some 2.2 n / (dim + 2) nodes for clustered data, up to 2.8 n / (dim + 2) for noise
    of few dimensions (measured); see `index.annoy_file` for the layout.
    """
    tree_dim = min(TREE_DIM, dim) if reduced else dim
    records = rows * record_bytes(min(CODE_DIM, dim)) if reduced else 0
    return int(node_size(tree_dim) * rows * (1 + 3 * trees / (tree_dim + 2))) + records


def _check_arguments(*, rows: int, trees: int, seed: int | None, jobs: int) -> None:
    if rows < 1:
        raise IndexBuildError("nothing to index")
    if trees < 1:
        raise IndexBuildError(f"{trees} trees cannot be searched; at least 1 is needed")
    if jobs < 1 and jobs != -1:
        raise IndexBuildError(f"{jobs} jobs cannot build; give at least 1, or -1 for one per processor")
    if seed is not None and not 0 <= seed < 2**31:
        raise IndexBuildError(f"the seed {seed} is not from 0 to {2**31 - 1}")


def _check_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise IndexBuildError(f"{directory} has {free / 1e9:.1f} GB left; the index needs about {needed / 1e9:.1f} GB")


def _measured(directory: Path, dim: int, truth: Truth, vectors: Vectors | None) -> Recall:
    files = verify_files(directory, dim=dim)

    def with_effort(search_k: int) -> SearchIndex:
        if vectors is None:
            return AnnoySearchIndex.of(directory, files, Effort(measured=search_k))
        return ReducedSearchIndex.of(directory, files, Effort(measured=search_k), vectors)

    return tune(truth, with_effort)


def _write_reduction(directory: Path, reduction: Reduction) -> ReductionRecord:
    reduction.save(directory / COMPONENTS_NAME)
    sync_file(directory / RECORDS_NAME)
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


def _checked_bin(path: Path, dim: int, items: int) -> FileRecord:
    digest = hashlib.sha256()
    with FileIO(path) as file:
        check_annoy_file(file, dim=dim, items=items, seen=digest.update)
    return FileRecord(path.stat().st_size, digest.hexdigest())


def _write_txt(path: Path, logo_ids: LogoIds) -> FileRecord:
    content = logo_ids.format()
    write_file(path, content)
    return FileRecord(len(content), hashlib.sha256(content).hexdigest())
