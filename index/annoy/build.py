"""Build the files of an Annoy index from vectors.

`build_index` writes the three files of a generation, `build_pair` the two files of the original. Annoy needs all
vectors before it grows trees over them, and reports no progress while it does.
"""

from __future__ import annotations

import hashlib
import logging
import os
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

from durable import READABLE, sync_directory, sync_file
from index.annoy.engine import SEARCH_K_FLOOR, AnnoySearchIndex, Effort
from index.annoy.file_check import check_annoy_file, node_size
from index.errors import IndexBuildError
from index.files.build_lock import build_lock
from index.files.logo_ids import LogoIds
from index.files.manifest import (
    BIN_NAME,
    TXT_NAME,
    FileRecord,
    ListsRecord,
    Manifest,
    write_manifest,
)
from index.files.verification import verify_files
from index.recall import Truth, tune
from index.sample import Sample
from index.vectors import MAX_LENGTH, usable_rows

logger = logging.getLogger(__name__)

Blocks = Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]
"""Parts of the input: ids `(m,)` and vectors `(m, dim)`, each of any length."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are grown. The fields are the arguments of `build_index` with the same names."""

    trees: int
    seed: int | None
    jobs: int
    on_disk: bool

    @property
    def threads(self) -> int:
        """How many threads build."""
        return self.jobs if self.jobs > 0 else os.cpu_count() or 1

    def check(self, rows: int) -> None:
        """Raise `IndexBuildError` if trees cannot be grown like this over this many logos."""
        if rows < 1:
            raise IndexBuildError("nothing to index")
        if self.trees < 1:
            raise IndexBuildError(f"{self.trees} trees cannot be searched; at least 1 is needed")
        if self.jobs < 1 and self.jobs != -1:
            raise IndexBuildError(f"{self.jobs} jobs cannot build; give at least 1, or -1 for one per processor")
        if self.seed is not None and not 0 <= self.seed < 2**31:
            raise IndexBuildError(f"the seed {self.seed} is not from 0 to {2**31 - 1}")

    def begin(self, directory: Path, dim: int) -> AnnoyIndex:
        """Return an index to which items can be added."""
        annoy = AnnoyIndex(dim, "euclidean")
        if self.seed is not None:
            annoy.set_seed(self.seed)
        if self.on_disk:
            annoy.on_disk_build(str(directory / BIN_NAME))
        return annoy

    def grow(self, annoy: AnnoyIndex, directory: Path, items: int) -> None:
        """Grow the trees over the items, write `index.bin` and sync it."""
        logger.info("growing %d trees over %d logos", self.trees, items)
        annoy.build(self.trees, self.jobs)
        if not self.on_disk:
            annoy.save(str(directory / BIN_NAME))
        annoy.unload()
        sync_file(directory / BIN_NAME, mode=READABLE)


@dataclass(frozen=True, slots=True)
class About:
    """Facts for the manifest: the length of the vectors, the model that made them, and how many were stored."""

    dim: int
    model_name: str
    weights_digest: str
    stored_rows: int


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
) -> Manifest:
    """Write `index.bin`, `index.txt` and `index.json` into a directory, all synced.

    A vector that no distance can be computed from is skipped, and the log says how many were.

    Args:
        directory: exists, and holds no index.
        blocks: the logos to index, in item order.
        dim: the number of values in a vector.
        rows: the expected number of logos in `blocks`, to find out early that there is too little space.
        trees: more trees find more of the nearest logos, and take more time and space.
        seed: with one job, the same seed gives the same bytes; `None` leaves it to Annoy.
        jobs: threads that grow trees; -1 means one per processor.
        on_disk: keep the vectors on disk while the trees grow, not in memory.
        progress: called with the number of rows just read.
        model_name: the model that made the vectors, for the manifest; empty if unknown.
        weights_digest: of that model's weights, for the manifest; empty if unknown.
        stored_rows: logos in the store, for the manifest; by default `rows`.
        sample: the logos to measure recall on; `None` measures nothing.

    Raises:
        IndexBuildError: there is nothing to index, an id is not positive or occurs twice, an argument is out of range,
            or the disk is full or refuses to write.
    """
    plan = Growth(trees, seed, jobs, on_disk)
    plan.check(rows)
    about = About(dim, model_name, weights_digest, rows if stored_rows is None else stored_rows)
    try:
        check_room(directory, estimated_size(rows, dim, trees))
        truth = None if sample is None else sample.usable().truth()
        annoy = plan.begin(directory, dim)
        logo_ids = _add_items(annoy, blocks, dim, truth, progress)
        plan.grow(annoy, directory, len(logo_ids))
        manifest = describe(directory, plan, about, logo_ids)
        if truth is not None:
            files = verify_files(directory, dim=dim)
            least = trees * SEARCH_K_FLOOR
            recall = tune(truth, lambda effort: AnnoySearchIndex.of(directory, files, Effort(measured=effort)), least)
            manifest = replace(manifest, recall=recall)
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

    The directory is created if missing. An `output` that ends in `.bin` is the path of that file, and the other one has
    the same name with `.txt`. Both are written in a temporary directory beside them and moved into place, so a service
    that has the old ones mapped keeps using those. In between there is no `.txt`, never one that belongs to another
    `.bin`. With `wait`, another build of the same pair is waited for; all else is as for `build_index`.

    Raises:
        BuildInProgressError: another build of the pair is running, and `wait` is false.
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


def estimated_size(rows: int, dim: int, trees: int) -> int:
    """Return the approximate size of `index.bin` in bytes.

    A tree over n items has some 2.2 n / (dim + 2) nodes for clustered data, up to 2.8 n / (dim + 2) for noise
    of few dimensions (measured); see `index.annoy.file_check` for the layout.
    """
    return int(node_size(dim) * rows * (1 + 3 * trees / (dim + 2)))


def check_room(directory: Path, needed: int) -> None:
    """Raise `IndexBuildError` unless this many bytes fit on the disk of a directory."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise IndexBuildError(f"{directory} has {free / 1e9:.1f} GB free; the index needs about {needed / 1e9:.1f} GB")


def checked_ids(added: list[NDArray[np.int64]], read: int) -> LogoIds:
    """Return the ids of all items, given how many rows were read.

    Raises:
        IndexBuildError: there are none, or an id is not positive or occurs twice.
    """
    items = sum(map(len, added))
    if items < read:
        logger.warning("%d vectors are left out: not finite, or longer than %.2g", read - items, MAX_LENGTH)
    if not items:
        raise IndexBuildError("nothing to index")
    try:
        return LogoIds(np.concatenate(added))
    except ValueError as error:
        raise IndexBuildError(str(error)) from error


def describe(
    directory: Path, plan: Growth, about: About, logo_ids: LogoIds, lists: ListsRecord | None = None
) -> Manifest:
    """Write `index.txt` and `index.json` beside a finished `index.bin`, which is checked."""
    dim, items = (about.dim, len(logo_ids)) if lists is None else (lists.coded, lists.count)
    manifest = Manifest(
        dim=about.dim,
        items=len(logo_ids),
        trees=plan.trees,
        seed=plan.seed,
        index_bin=_checked_bin(directory / BIN_NAME, dim, items),
        index_txt=_write_txt(directory / TXT_NAME, logo_ids),
        model=about.model_name,
        weights_digest=about.weights_digest,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        stored_rows=about.stored_rows,
        lists=lists,
    )
    write_manifest(directory, manifest)
    return manifest


def _add_items(
    annoy: AnnoyIndex, blocks: Blocks, dim: int, truth: Truth | None, progress: Callable[[int], None]
) -> LogoIds:
    added: list[NDArray[np.int64]] = []
    items = read = 0
    for logo_ids, vectors in blocks:
        if vectors.shape != (len(logo_ids), dim):
            raise IndexBuildError(f"{len(logo_ids)} ids do not match vectors of shape {vectors.shape}; dim is {dim}")
        usable = usable_rows(vectors)
        added.append(logo_ids[usable])
        good = np.asarray(vectors[usable], np.float32)
        if truth is not None and len(good):
            truth.take_in(added[-1], good)
        for item, vector in enumerate(good, start=items):
            annoy.add_item(item, vector.data)  # measured: a memoryview is added twice as fast as an array
        items += len(good)
        read += len(logo_ids)
        progress(len(logo_ids))
    return checked_ids(added, read)


def _checked_bin(path: Path, dim: int, items: int) -> FileRecord:
    digest = hashlib.sha256()
    with FileIO(path) as file:
        check_annoy_file(file, dim=dim, items=items, seen=digest.update)
    return FileRecord(path.stat().st_size, digest.hexdigest())


def _write_txt(path: Path, logo_ids: LogoIds) -> FileRecord:
    content = logo_ids.format()
    path.write_bytes(content)
    sync_file(path, mode=READABLE)
    return FileRecord(len(content), hashlib.sha256(content).hexdigest())
