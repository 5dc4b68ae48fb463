"""The indexes that a service serves: one for every directory of the data directory that holds one.

A directory whose `current` link names a generation is served from that; one with the original's pair (`index.bin`,
`index.txt`) from the pair. A watcher thread checks them regularly. What changed is verified, loaded beside the old
index, and swapped in as one reference, so that running queries finish on the index they began with. If the new files
fail verification, that is logged once, and the old index stays in use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from index.annoy.engine import SEARCH_K_FLOOR
from index.errors import IndexUnavailableError, UnknownIndexError
from index.exact import ExactIndex
from index.files.generations import index_directories
from index.loading import LoadedIndex, load_index
from index.protocol import SearchIndex, Vectors
from index.status import IndexStatus, OnLoad
from index.watched_index import WatchedIndex

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.0  # a check of a large index takes longer; its thread ends with the process


class IndexCatalog:
    """The indexes of a data directory, loaded at once and kept up to date between `start` and `close`.

    The first load checks everything but the digest of `index.bin`, which would take seconds.

    Args:
        data_dir: holds a directory for each index; names that begin with a dot are skipped.
        dim: the number of values in a vector.
        default: the index that `get(None)` returns; it counts as empty while it has no files.
        vectors: returns the vectors of logos, without which indexes of lists cannot be served.
        search_k: see `load_index`.
        weights_digest: of the model that made the store's vectors; empty if unknown.
        reload_seconds: time between two checks.
        search_k_floor: see `load_index`.
        query_threads: see `load_index`.
        on_load: see `index.status.OnLoad`.
        passes_over: whether a directory is none of these indexes, because it belongs to another store.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        dim: int,
        default: str,
        vectors: Vectors | None = None,
        search_k: int | None = None,
        weights_digest: str = "",
        reload_seconds: float = 5.0,
        search_k_floor: int = SEARCH_K_FLOOR,
        query_threads: int = 1,
        on_load: OnLoad = lambda name, taken_in: None,
        passes_over: Callable[[Path], bool] = lambda directory: False,
    ) -> None:
        self._data_dir = data_dir
        self._dim = dim
        self._default = default
        self._vectors = vectors
        self._search_k = search_k
        self._search_k_floor = search_k_floor
        self._query_threads = query_threads
        self._weights_digest = weights_digest
        self._reload_seconds = reload_seconds
        self._on_load = on_load
        self._passes_over = passes_over
        empty = ExactIndex([], np.empty((0, dim), np.float32))
        self._indexes = {default: WatchedIndex(data_dir / default, self._load, empty=empty, on_load=on_load)}
        self._looking = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="index-watcher", daemon=True)
        self._look(digests=False)

    def get(self, name: str | None) -> SearchIndex:
        """Return an index by its name; `None` means the default one.

        Raises:
            UnknownIndexError: no index has this name.
            IndexUnavailableError: the default index exists, but none of its files can be served.
        """
        name = self._default if name is None else name
        watched = self._indexes.get(name)
        index = None if watched is None else watched.index
        if index is not None:
            return index
        if watched is not None and name == self._default:
            raise IndexUnavailableError(f"the index {name} cannot be served: {watched.status.error}")
        raise UnknownIndexError(name)

    def names(self) -> list[str]:
        """Return the names that `get` accepts, in alphabetical order."""
        return [name for name, watched in sorted(self._indexes.copy().items()) if watched.index is not None]

    def status(self) -> list[IndexStatus]:
        """Return the status of each index, including those that cannot be served, in alphabetical order."""
        return [
            watched.status
            for name, watched in sorted(self._indexes.copy().items())
            if name == self._default or not watched.is_stray()
        ]

    def status_of(self, name: str | None) -> IndexStatus:
        """Return the status of an index; `None` means the default one.

        Raises:
            UnknownIndexError: no index has this name.
        """
        watched = self._indexes.get(self._default if name is None else name)
        if watched is None or (watched.status.name != self._default and watched.is_stray()):
            raise UnknownIndexError(str(name))
        return watched.status

    def refresh(self) -> None:
        """Check every directory once, and load what changed."""
        self._look(digests=True)

    def start(self) -> None:
        """Call `refresh` every `reload_seconds` from now on, in a separate thread."""
        self._watcher.start()

    def close(self) -> None:
        """Stop the thread; loaded indexes can still be searched."""
        self._closing.set()
        if self._watcher.is_alive():
            self._watcher.join(timeout=_CLOSE_SECONDS)

    def _watch(self) -> None:
        while not self._closing.wait(self._reload_seconds):
            try:
                self.refresh()
            except Exception:
                logger.exception("checking for new indexes failed; the next check is in %g s", self._reload_seconds)

    def _look(self, *, digests: bool) -> None:
        with self._looking:
            directories = index_directories(self._data_dir)
            found = [path for path in directories if path.name not in self._indexes and not self._passes_over(path)]
            self._indexes |= {
                path.name: WatchedIndex(path, self._load, empty=None, on_load=self._on_load) for path in found
            }
            for watched in self._indexes.values():
                watched.look(digests=digests)
            for path in found:
                if self._indexes[path.name].is_stray():
                    logger.warning("%s holds no index: skipping it", path)

    def _load(self, directory: Path, digests: bool) -> LoadedIndex:
        return load_index(
            directory,
            dim=self._dim,
            vectors=self._vectors,
            search_k=self._search_k,
            search_k_floor=self._search_k_floor,
            query_threads=self._query_threads,
            weights_digest=self._weights_digest,
            digests=digests,
        )
