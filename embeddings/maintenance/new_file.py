"""The new file of a store, until it takes the place of the old one: what migration, rewrite and restore share."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreFullError
from embeddings.store.layout import storage_errors, sync_directory
from embeddings.store.provenance import RECORD_BYTES, Records
from embeddings.store.store_file import StoreFile

_NAMED = 20  # ids that one line of the log names

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """What became of the rows of a store.

    Attributes:
        rows: logos in the new file.
        duplicates: rows left out because a later row holds the same logo, as the original's files may.
        damaged: rows left out because they cannot be read or disagree with their checksum.
        ignored: rows left out because their id is negative (a deleted logo), or zero with used rows after it.
        not_finite: logos kept although their embedding holds a NaN or an infinity.
        capacity: rows of the new file.
        kept_as: where the old file is now, if it was kept.
    """

    rows: int
    duplicates: int
    damaged: int
    ignored: int
    not_finite: int
    capacity: int
    kept_as: Path | None


def append_copy(
    target: StoreFile, end: int, ids: NDArray[np.int64], embeddings: NDArray[np.float32], records: Records
) -> list[int]:
    """Write copied rows from row `end` of a file that nobody else uses yet; return the ids of those not finite."""
    if len(ids):
        target.write_content(end, ids, embeddings, records)
        target.write_ids(end, ids)
    not_finite: list[int] = ids[~np.isfinite(embeddings).all(axis=1)].tolist()
    return not_finite


def keep(path: Path, label: str, file: Path | None = None) -> Path:
    """Give a file, that at `path` if not another, a durable name beside `path`, and return it.

    The name is one that is free, or that a killed run gave the file: `store.label.hdf5`, `store.label-2.hdf5`, ...
    """
    file = path if file is None else file
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (path.with_name(f"{path.stem}.{label}{number}{path.suffix}") for number in numbers)
    kept = next(name for name in names if _is_linked(file, name))
    sync_directory(path.parent)
    return kept


def _is_linked(file: Path, name: Path) -> bool:
    """Give a file a second name if that is free, and tell whether the name is the file's."""
    with suppress(FileExistsError):
        os.link(file, name)
    return name.exists() and name.samefile(file)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, durably; StoreUnavailableError if that cannot be done."""
    with storage_errors(f"make the directory {path}"):
        new = [directory for directory in (path, *path.parents) if not directory.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for directory in new:
            sync_directory(directory.parent)


def refuse_without_room(path: Path, rows: int, dim: int) -> None:
    """Raise StoreFullError if the disk of a new file at `path` has no room for so many rows."""
    needed, free = rows * (12 + 4 * dim + RECORD_BYTES), shutil.disk_usage(path.parent).free
    if needed > free:
        raise StoreFullError(
            f"{path} would take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free there: make room first"
        )


def take_owner(old: Path, new: Path) -> None:
    """Let whoever may use the old file use the new one, when another user runs the command."""
    status = old.stat()
    with suppress(PermissionError):
        os.chown(new, status.st_uid, status.st_gid)
    new.chmod(status.st_mode & 0o777)


def tell(path: Path, report: RewriteReport, damaged: list[int], not_finite: list[int]) -> None:
    """Log what became of a store, with the ids of damaged and of not finite rows."""
    log.info("%s now holds %d logos and has %d rows", path, report.rows, report.capacity)
    if report.kept_as:
        log.info("The old file is kept as %s", report.kept_as)
    if report.duplicates:
        log.warning("Left out %d rows of logos that a later row holds", report.duplicates)
    if damaged:
        log.error("Left out %d damaged rows, of logos %s", len(damaged), some(damaged))
    if not_finite:
        log.warning("%d logos have embeddings that are not finite: %s", len(not_finite), some(not_finite))


def tell_torn(path: Path, torn: list[int]) -> None:
    """Log the logos whose provenance was damaged, and so was not copied."""
    if torn:
        log.error("Left out the damaged provenance in %s of logos %s", path, some(torn))


def some(ids: list[int]) -> str:
    """Return ids for a line of the log, which need not name thousands."""
    return ", ".join(map(str, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
