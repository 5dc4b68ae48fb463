"""The indexes that a service answers from: every directory of the data directory that holds one.

A directory whose `current` link names a generation is served from that; one with the original's pair
(`index.bin`, `index.txt`) from the pair. A watcher thread looks again and again; what changed is verified,
loaded aside and swapped in as one reference, so that queries under way finish on what they began with. What
does not pass is named once in the log, and the old index goes on.
"""

from __future__ import annotations

import logging
import threading
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

_CLOSE_SECONDS = 1.0  # a look at a large index takes longer; its thread ends with the process


class IndexCatalog:
    """The indexes of a data directory, loaded at once and kept up to date between `start` and `close`.

    Loading at once checks all but the digest of `index.bin`: that would take seconds.

    Args:
        data_dir: holds a directory for each index; names that begin with a dot are passed over.
        dim: the number of values of a vector.
        default: the index that `get(None)` answers; it counts as empty as long as it has no files.
        vectors: gives the vectors of logos, without which indexes of lists cannot be served.
        search_k: see `load_index`.
        weights_digest: of the model that made the store's vectors; empty if unknown.
        reload_seconds: between two looks of the watcher.
        search_k_floor: see `load_index`.
        on_load: see `index.status.OnLoad`.
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
        on_load: OnLoad = lambda name, taken_in: None,
    ) -> None:
        self._data_dir = data_dir
        self._dim = dim
        self._default = default
        self._vectors = vectors
        self._search_k = search_k
        self._search_k_floor = search_k_floor
        self._weights_digest = weights_digest
        self._reload_seconds = reload_seconds
        self._on_load = on_load
        empty = ExactIndex([], np.empty((0, dim), np.float32))
        self._indexes = {default: WatchedIndex(data_dir / default, self._load, empty=empty, on_load=on_load)}
        self._looking = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="index-watcher", daemon=True)
        self._look(digests=False)

    def get(self, name: str | None) -> SearchIndex:
        """Answer an index by its name; `None` is the default one.

        Raises:
            UnknownIndexError: there is none of that name.
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
        """Answer the names that `get` answers, in alphabetical order."""
        return [name for name, watched in sorted(self._indexes.copy().items()) if watched.index is not None]

    def status(self) -> list[IndexStatus]:
        """Answer how each index stands, those among them that cannot be served, in alphabetical order."""
        return [
            watched.status
            for name, watched in sorted(self._indexes.copy().items())
            if name == self._default or not watched.is_stray()
        ]

    def status_of(self, name: str | None) -> IndexStatus:
        """Answer how an index stands; `None` is the default one.

        Raises:
            UnknownIndexError: there is none of that name.
        """
        watched = self._indexes.get(self._default if name is None else name)
        if watched is None or (watched.status.name != self._default and watched.is_stray()):
            raise UnknownIndexError(str(name))
        return watched.status

    def refresh(self) -> None:
        """Look once at every directory, and take in what changed."""
        self._look(digests=True)

    def start(self) -> None:
        """Look every `reload_seconds` from now on, in a thread of its own."""
        self._watcher.start()

    def close(self) -> None:
        """Stop looking; what is loaded goes on answering."""
        self._closing.set()
        if self._watcher.is_alive():
            self._watcher.join(timeout=_CLOSE_SECONDS)

    def _watch(self) -> None:
        while not self._closing.wait(self._reload_seconds):
            try:
                self.refresh()
            except Exception:
                logger.exception("looking for new indexes failed; the next look is in %g s", self._reload_seconds)

    def _look(self, *, digests: bool) -> None:
        with self._looking:
            found = [path for path in index_directories(self._data_dir) if path.name not in self._indexes]
            self._indexes |= {
                path.name: WatchedIndex(path, self._load, empty=None, on_load=self._on_load) for path in found
            }
            for watched in self._indexes.values():
                watched.look(digests=digests)
            for path in found:
                if self._indexes[path.name].is_stray():
                    logger.warning("%s holds no index: it is passed over", path)

    def _load(self, directory: Path, digests: bool) -> LoadedIndex:
        return load_index(
            directory,
            dim=self._dim,
            vectors=self._vectors,
            search_k=self._search_k,
            search_k_floor=self._search_k_floor,
            weights_digest=self._weights_digest,
            digests=digests,
        )
