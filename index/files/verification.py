"""Check that the files of an index belong together and are whole.

No index is searched that was not checked here. The original's pair (`index.bin`, `index.txt`) is checked by its
structure. A generation also has an `index.json`, against which sizes, counts, the digests of small files and, on
request, those of large ones are checked. Only the digest shows a changed digit in an id, which would be another logo.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from index.annoy.file_check import check_annoy_file
from index.errors import IndexDamagedError
from index.files.digests import check_count, check_digest, digest_of, read_through
from index.files.logo_ids import LogoIds
from index.files.manifest import (
    BIN_NAME,
    CODES_NAME,
    COMPONENTS_NAME,
    JSON_NAME,
    OF_AN_EARLIER_BUILD,
    RECORDS_NAME,
    TXT_NAME,
    VECTORS_NAME,
    ListsRecord,
    Manifest,
    read_manifest,
)
from index.files.regular_file import open_regular, read_regular
from index.lists.records import RecordFormat
from index.status import Recall

GENERATIONS = "generations"


@dataclass(frozen=True, slots=True)
class VerifiedLists:
    """What the files of an index of lists hold besides.

    Attributes:
        record: what the manifest says of them.
        format: of the records.
    """

    record: ListsRecord
    format: RecordFormat


@dataclass(frozen=True, slots=True)
class VerifiedFiles:
    """The verified content of an index's files.

    Attributes:
        dim: the number of values of a vector.
        logo_ids: the ids in item order.
        trees: the number of Annoy's trees.
        identity: identifies `index.bin` by device, inode, size and time of the last change, so that the file that is
            loaded can be compared with the one that was verified.
        lists: `None` if the trees are grown over the vectors themselves.
        recall: the recall measured when the index was built; `None` if not measured.
        built_at: when the index was built; `None` if unknown.
    """

    dim: int
    logo_ids: LogoIds
    trees: int
    identity: tuple[int, ...]
    lists: VerifiedLists | None = None
    recall: Recall | None = None
    built_at: datetime | None = None

    @property
    def measured_effort(self) -> int | None:
        """The `search_k` that was measured to be enough; `None` if not measured."""
        return None if self.recall is None else self.recall.search_k


def verify_files(
    directory: Path,
    *,
    dim: int,
    weights_digest: str = "",
    digests: bool = False,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> VerifiedFiles:
    """Check the files in an index directory or a generation.

    Args:
        directory: holds `index.bin`, `index.txt` and, unless it is the original's pair, `index.json`.
        dim: the number of values that a vector must have.
        weights_digest: of the model that made the store's vectors; empty if unknown.
        digests: whether to check the SHA-256 of large files too (about a second a gigabyte).
        progress: called with the number of bytes of large files just read.

    Raises:
        IndexDamagedError: the files are missing, broken, or do not belong together; the message says why.
    """
    try:
        manifest = _manifest(directory)
        if manifest is not None:
            _check_origin(directory, manifest, dim, weights_digest)
        logo_ids = _check_txt(directory / TXT_NAME, manifest)
        lists = None if manifest is None else _check_lists(directory, manifest, digests, progress)
        with open_regular(directory / BIN_NAME) as file:
            if lists is None:
                trees = _check_bin(file, manifest, dim, len(logo_ids), digests, progress)
            else:  # the centres are few: their digest takes no time
                trees = _check_bin(file, manifest, lists.record.coded, lists.record.count, True, progress)
            recall = None if manifest is None else manifest.recall
            which = identity(os.fstat(file.fileno()))
            return VerifiedFiles(dim, logo_ids, trees, which, lists, recall, _built_at(manifest))
    except OSError as error:
        raise IndexDamagedError(f"{directory} cannot be read: {error}") from error


def identity(status: os.stat_result) -> tuple[int, ...]:
    """Return values that identify a file and change with it."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _built_at(manifest: Manifest | None) -> datetime | None:
    if manifest is None:
        return None
    built_at = datetime.fromisoformat(manifest.built_at)
    return built_at.astimezone(UTC) if built_at.tzinfo else built_at.replace(tzinfo=UTC)


def _manifest(directory: Path) -> Manifest | None:
    if directory.parent.name == GENERATIONS or (directory / JSON_NAME).exists():
        return read_manifest(directory)
    return None


def _check_origin(directory: Path, manifest: Manifest, dim: int, weights_digest: str) -> None:
    if manifest.dim != dim:
        raise IndexDamagedError(f"{directory}: its vectors have {manifest.dim} values, those of the store {dim}")
    if manifest.weights_digest and weights_digest and manifest.weights_digest != weights_digest:
        raise IndexDamagedError(
            f"{directory}: its vectors were made by a model with the weights {manifest.weights_digest}, those of the"
            f" store with {weights_digest}; generate the index again"
        )


def _check_txt(path: Path, manifest: Manifest | None) -> LogoIds:
    content = read_regular(path)
    try:
        logo_ids = LogoIds.parse(content)
    except ValueError as error:
        raise IndexDamagedError(f"{path}: {error}") from error
    if not len(logo_ids):
        raise IndexDamagedError(f"{path}: it lists no logos")
    if manifest is not None:
        check_count(path, "logos", len(logo_ids), manifest.items)
        check_count(path, "bytes", len(content), manifest.index_txt.size)
        check_digest(path, hashlib.sha256(content).hexdigest(), manifest.index_txt)
    return logo_ids


def _check_lists(
    directory: Path, manifest: Manifest, digests: bool, progress: Callable[[int], None]
) -> VerifiedLists | None:
    record = manifest.lists
    if record is None:
        return None
    of_files = {COMPONENTS_NAME: record.components, RECORDS_NAME: record.records, CODES_NAME: record.codes}
    if record.vectors is not None:
        of_files[VECTORS_NAME] = record.vectors
    for name, of_file in of_files.items():
        with open_regular(directory / name) as file:
            check_count(directory / name, "bytes", os.fstat(file.fileno()).st_size, of_file.size)
            if digests or name == COMPONENTS_NAME:
                check_digest(directory / name, digest_of(file, progress), of_file)
            elif name != CODES_NAME:  # who loads the codes checks their digest
                read_through(file, progress)
    row_format = RecordFormat.load(directory / COMPONENTS_NAME, dim=manifest.dim, count=record.recorded)
    if record.records.size != manifest.items * row_format.row_bytes:
        raise IndexDamagedError(f"{directory}: {OF_AN_EARLIER_BUILD}")
    return VerifiedLists(record, row_format)


def _check_bin(
    file: FileIO, manifest: Manifest | None, dim: int, items: int, digests: bool, progress: Callable[[int], None]
) -> int:
    path = Path(str(file.name))
    digest = hashlib.sha256() if digests and manifest is not None else None

    def seen(content: memoryview) -> None:
        if digest is not None:
            digest.update(content)
        progress(len(content))

    if manifest is not None:
        check_count(path, "bytes", os.fstat(file.fileno()).st_size, manifest.index_bin.size)
    try:
        trees = check_annoy_file(file, dim=dim, items=items, seen=seen)
    except IndexDamagedError as error:
        raise IndexDamagedError(f"{path}: {error}") from error
    if manifest is not None:
        check_count(path, "trees", trees, manifest.trees)
        if digest is not None:
            check_digest(path, digest.hexdigest(), manifest.index_bin)
    return trees
