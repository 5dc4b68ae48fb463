"""The collections of a data directory: each is a directory with a `collection.json`.

    DATA/clip-vit-b-32/collection.json   the definition, written once
    DATA/clip-vit-b-32/logos.hdf5        the store, made when it is first opened
    DATA/.clip-vit-b-32.dropped-...      a collection that was dropped, kept as it was

A collection is created and dropped by one rename, so it exists as a whole or not at all, also after a crash. Creating
and dropping hold a lock on `DATA/.collections.lock`. Names that begin with a dot are not collections. What a killed run
left under such a name, the next run for the same collection removes.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from durable import sync_directory, sync_file
from embeddings.collection.definition import CollectionDefinition, check_name
from embeddings.errors import CollectionError, UnknownCollectionError, storage_errors, store_error

DEFINITION_NAME = "collection.json"
STORE_NAME = "logos.hdf5"
_LOCK_NAME = ".collections.lock"


class CollectionDirectory:
    """Creates, lists and drops the collections of a data directory. Any number of processes may use one.

    Args:
        data_dir: exists.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def path(self, name: str) -> Path:
        """Return the directory of a collection, which need not exist.

        Raises:
            CollectionError: no collection may have this name.
        """
        check_name(name)
        return self._data_dir / name

    def store_path(self, name: str) -> Path:
        """Return the store file of a collection; errors are those of `path`."""
        return self.path(name) / STORE_NAME

    def names(self) -> list[str]:
        """Return the names of all collections, in alphabetical order."""
        with storage_errors(f"list {self._data_dir}"):
            found = self._data_dir.glob(f"*/{DEFINITION_NAME}")
            return sorted(path.parent.name for path in found if not path.parent.name.startswith("."))

    def identity(self, name: str) -> tuple[int, int, int] | None:
        """Return a value that differs once the collection is dropped and created again; `None` if there is none."""
        try:
            status = (self.path(name) / DEFINITION_NAME).stat()
        except (CollectionError, FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_error(f"look for the collection {name}", error) from error
        return status.st_dev, status.st_ino, status.st_mtime_ns

    def get(self, name: str) -> CollectionDefinition:
        """Return the definition of a collection.

        Raises:
            UnknownCollectionError: there is none of that name.
            CollectionError: its definition cannot be used.
            StoreUnavailableError: it cannot be read.
        """
        path = self.path(name) / DEFINITION_NAME
        with storage_errors(f"read {path}"):
            try:
                content = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError) as error:
                raise UnknownCollectionError(f"unknown collection: {name}") from error
        try:
            definition = CollectionDefinition.of_json(content)
        except CollectionError as error:
            raise CollectionError(f"{path} cannot be used: {error}") from error
        if definition.name != name:
            raise CollectionError(f"{path} defines the collection {definition.name}: rename the directory back to that")
        return definition

    def create(self, definition: CollectionDefinition) -> Path:
        """Create a collection, durably, and return its directory. Its store is made when it is first opened.

        Raises:
            CollectionError: there is a collection, or another file, of that name.
            StoreFullError, StoreUnavailableError: it cannot be written.
        """
        path = self.path(definition.name)
        draft = self._hidden(definition.name, "creating")
        with storage_errors(f"create {path}"), self._lock():
            _remove(draft)
            if path.exists():
                raise CollectionError(f"{path} exists: choose another name, or drop that collection first")
            draft.mkdir()
            (draft / DEFINITION_NAME).write_bytes(definition.as_json())
            sync_file(draft / DEFINITION_NAME)
            sync_directory(draft)
            draft.rename(path)
            sync_directory(self._data_dir)
        return path

    def drop(self, name: str, *, keep: bool = True) -> Path | None:
        """Drop a collection, durably.

        A service that has its store open keeps using the renamed files until the next request for the collection.

        Args:
            name: of the collection.
            keep: whether to keep its files, under a hidden name.

        Returns:
            Where its files are kept; `None` if they were removed.

        Raises:
            UnknownCollectionError: there is none of that name.
            StoreUnavailableError: it cannot be renamed or removed.
        """
        path = self.path(name)
        with storage_errors(f"drop {path}"), self._lock():
            doomed = self._hidden(name, "deleting")
            _remove(doomed)
            if not (path / DEFINITION_NAME).is_file():
                raise UnknownCollectionError(f"unknown collection: {name}")
            target = self._dropped_name(name) if keep else doomed
            path.rename(target)
            sync_directory(self._data_dir)
            if keep:
                return target
            _remove(doomed)
        return None

    def _hidden(self, name: str, state: str) -> Path:
        return self._data_dir / f".{name}.{state}"

    def _dropped_name(self, name: str) -> Path:
        moment = f"dropped-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        paths = (self._hidden(name, moment + number) for number in numbers)
        return next(path for path in paths if not path.exists())

    @contextmanager
    def _lock(self) -> Iterator[None]:
        fd = os.open(self._data_dir / _LOCK_NAME, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
