"""Stores that break a rule on purpose: a test that finds nothing wrong with them proves nothing.

Each is the real store with one step omitted or out of order, while its context is entered. They change functions that
all files go through, not single lines of code, so that they survive when that code moves.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from embeddings.attributes import database
from embeddings.store.id_table import KnownRows
from embeddings.store.provenance import Records
from embeddings.store.store_file import StoreFile


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken store.

    Attributes:
        writer: the function of `power_writers.py` that shows it.
        applied: breaks the store while the context is entered.
        why_harmless: why nothing is lost, if that is so.
    """

    writer: str
    applied: Callable[[], AbstractContextManager[Any]]
    why_harmless: str = ""


def _no_sync_after(written: str, of: str = "") -> Callable[[], AbstractContextManager[None]]:
    """Omit the sync after writing `content`, `ids` or a `deletion`, in files whose names begin with `of`."""

    @contextmanager
    def applied() -> Iterator[None]:
        last: dict[StoreFile, str] = {}
        content, ids, sync = StoreFile.write_content, StoreFile.write_ids, StoreFile.sync

        def write_content(file: StoreFile, first: int, slots: NDArray[np.int64], *rows: Any) -> None:
            content(file, first, slots, *rows)
            last[file] = "content"

        def write_ids(file: StoreFile, first: int, slots: NDArray[np.int64]) -> None:
            ids(file, first, slots)
            last[file] = "deletion" if (slots < 0).all() else "ids"

        def sync_some(file: StoreFile) -> None:
            if last.pop(file, "") != written or not file.path.name.startswith(of):
                sync(file)

        with mock.patch.multiple(StoreFile, write_content=write_content, write_ids=write_ids, sync=sync_some):
            yield

    return applied


@contextmanager
def _ids_first(of: str) -> Iterator[None]:
    """Write the ids of new rows before their content, in files whose names begin with `of`."""
    content = StoreFile.write_content

    def write_content(file: StoreFile, first: int, slots: NDArray[np.int64], *rows: Any) -> None:
        if file.path.name.startswith(of):
            file.write_ids(first, slots)
        content(file, first, slots, *rows)

    with mock.patch.object(StoreFile, "write_content", write_content):
        yield


@contextmanager
def _provenance_last() -> Iterator[None]:
    """Write the provenance of new rows after their ids."""
    records, ids = StoreFile.write_records, StoreFile.write_ids
    late: dict[StoreFile, tuple[int, Records]] = {}

    def write_records(file: StoreFile, first: int, of_rows: Records) -> None:
        late[file] = first, of_rows

    def write_ids(file: StoreFile, first: int, slots: NDArray[np.int64]) -> None:
        ids(file, first, slots)
        if file in late:
            records(file, *late.pop(file))

    with mock.patch.multiple(StoreFile, write_records=write_records, write_ids=write_ids):
        yield


@contextmanager
def _no_sync_of_files(*endings: str) -> Iterator[None]:
    """Omit the syncs of store files whose names end with one of `endings`."""
    sync = StoreFile.sync

    def sync_others(file: StoreFile) -> None:
        if not file.path.name.endswith(endings):
            sync(file)

    with mock.patch.object(StoreFile, "sync", sync_others):
        yield


def _no_fsync_of(is_kind: Callable[[int], bool]) -> AbstractContextManager[Any]:
    """Omit each `fsync` of a file, or of a directory; the rows of a store are synced by `fdatasync`."""
    fsync = os.fsync
    return mock.patch("os.fsync", lambda fd: None if is_kind(os.fstat(fd).st_mode) else fsync(fd))


def _attributes_with(pragma: str) -> AbstractContextManager[Any]:
    """Open databases of attributes with another setting, too."""
    return mock.patch.object(database, "_PRAGMAS", (*database._PRAGMAS, pragma))


@contextmanager
def _no_sync_of_directory_in(*modules: str) -> Iterator[None]:
    patches = [mock.patch(f"embeddings.maintenance.{module}.sync_directory") for module in modules]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


@contextmanager
def believing_everything() -> Iterator[None]:
    """Ignore all checksums when reading."""
    real = StoreFile.checked

    def checked(file: StoreFile, first: int, ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return real(file, first, ids)[0], ids != 0

    def embedding(file: StoreFile, row: int, logo_id: int) -> NDArray[np.float32]:
        return real(file, row, np.array([logo_id]))[0].reshape(-1)

    with mock.patch.multiple(StoreFile, checked=checked, embedding=embedding):
        yield


RECORDED = {
    "append without a sync before the ids": Mutant("append", _no_sync_after("content")),
    "append without a sync after the ids": Mutant("append", _no_sync_after("ids")),
    "append ids before content": Mutant("append", lambda: _ids_first("logos")),
    "append provenance after the ids": Mutant("append", _provenance_last),
    "answer for others without a sync": Mutant("take_turns", lambda: mock.patch.object(KnownRows, "make_durable")),
    "delete without a sync": Mutant("delete", _no_sync_after("deletion")),
    "delete replaced rows before the new ids are synced": Mutant("revise", _no_sync_after("ids")),
    "finish replacing for another without a sync": Mutant(
        "revise", lambda: mock.patch.object(KnownRows, "make_durable")
    ),
    "replace without a sync before the ids": Mutant("revise", _no_sync_after("content")),
    "set attributes without a sync": Mutant("set_attributes", lambda: _attributes_with("synchronous = NORMAL")),
    "link a new store before it is synced": Mutant("create", lambda: _no_fsync_of(stat.S_ISREG)),
    "never sync a directory, and make a store": Mutant("create", lambda: _no_fsync_of(stat.S_ISDIR)),
    "never sync a directory, and rewrite a store": Mutant("rewrite", lambda: _no_fsync_of(stat.S_ISDIR)),
    "rename a rewritten store before it is synced": Mutant("rewrite", lambda: _no_sync_of_files(".rewriting")),
    "rename a migrated store before it is synced": Mutant("migrate_original", lambda: _no_sync_of_files(".tmp")),
    "rename a restored store before it is synced": Mutant("restore", lambda: _no_sync_of_files(".restoring")),
    "replace an original without a durable second name": Mutant(
        "migrate_original", lambda: _no_sync_of_directory_in("replacement")
    ),
    "overwrite damaged rows before the quarantine is synced": Mutant("repair", lambda: _no_fsync_of(stat.S_ISREG)),
    "overwrite damaged rows before the quarantine has a durable name": Mutant(
        "repair", lambda: _no_sync_of_directory_in("replacement")
    ),
    "back up ids before rows": Mutant("back_up", lambda: _ids_first("backup")),
    "delete in a backup before its new rows are synced": Mutant("back_up", _no_sync_after("ids", "backup")),
    "delete in a backup without a sync": Mutant("back_up", _no_sync_after("deletion", "backup")),
    "rename a backup before it is synced": Mutant("back_up", lambda: _no_sync_of_files(".partial")),
    "rewrite without a sync of the directory": Mutant(
        "rewrite",
        lambda: _no_sync_of_directory_in("compaction"),
        "a power cut may bring the old file back, but it is whole, and a writer syncs the directory before it writes "
        "into the new one",
    ),
}
"""Stores that are broken where they write, by what they do."""
