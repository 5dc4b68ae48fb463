"""One index directory of a running service: the index loaded from it, and the state of its files when last checked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from index.errors import IndexDamagedError
from index.files.generations import current_generation, list_generations
from index.files.manifest import BIN_NAME, COMPONENTS_NAME, JSON_NAME, RECORDS_NAME, TXT_NAME
from index.files.verification import GENERATIONS, identity
from index.loading import LoadedIndex
from index.protocol import SearchIndex
from index.status import ORIGINAL_PAIR, IndexStatus, OnLoad

logger = logging.getLogger(__name__)

_NAMES = (BIN_NAME, TXT_NAME, JSON_NAME, COMPONENTS_NAME, RECORDS_NAME)


class WatchedIndex:
    """An index directory. Calls of `look` must not overlap; `index` and `status` can be read at any time.

    Args:
        directory: may be missing.
        load: returns the index in a directory of files, with or without checking digests; raises `IndexDamagedError`.
        empty: the index to use while the directory holds none.
        on_load: see `OnLoad`.

    Attributes:
        index: the index to search, swapped as one reference; `None` if none can be served.
        status: its status.
    """

    def __init__(
        self,
        directory: Path,
        load: Callable[[Path, bool], LoadedIndex],
        *,
        empty: SearchIndex | None,
        on_load: OnLoad = lambda name, taken_in: None,
    ) -> None:
        self.index = empty
        self.status = IndexStatus(directory.name)
        self._directory = directory
        self._load = load
        self._empty = empty
        self._on_load = on_load
        self._seen: object = None

    def look(self, *, digests: bool) -> None:
        """Load the files if they have changed since the last call and are sound.

        A loaded index is replaced only by the files that now belong there. If no index is loaded, older generations are
        tried too.
        """
        sources = _sources(self._directory)
        seen = _fingerprint(sources[0]) if sources else None
        if seen == self._seen:
            return
        if sources:
            self._take_in(sources[:1] if self.status.source else sources, digests)
        elif self.status.source:
            self._note("its files are gone; the loaded index stays in use")
        else:
            self.index = self._empty
            self.status = IndexStatus(self.status.name)
        self._seen = seen

    def is_stray(self) -> bool:
        """Return whether the directory holds no index, not even one that is being built."""
        return self._seen is None and not self.status.source and not (self._directory / GENERATIONS).exists()

    def _take_in(self, sources: list[Path], digests: bool) -> None:
        self.status = replace(self.status, error=None)
        for source in sources:
            try:
                index = self._load_unchanged(source, digests)
            except IndexDamagedError as error:
                self._note(str(error))
                self._on_load(self.status.name, False)
                continue
            label = source.name if source.parent.name == GENERATIONS else ORIGINAL_PAIR
            self.index = index
            self.status = replace(
                self.status,
                source=label,
                directory=None if label == ORIGINAL_PAIR else source,
                items=len(index),
                trees=index.trees,
                recall=index.recall,
                built_at=index.built_at,
            )
            self._on_load(self.status.name, True)
            found = f", recall@10 {index.recall.at_10:.3f} when it was built" if index.recall else ""
            logger.info("index %s: %d logos from %s%s", self.status.name, len(index), source, found)
            return
        if not self.status.source:
            self.index = None

    def _load_unchanged(self, source: Path, digests: bool) -> LoadedIndex:
        before = _fingerprint(source)
        index = self._load(source, digests)
        if _fingerprint(source) != before:
            raise IndexDamagedError(f"{source} changed while it was read")
        return index

    def _note(self, error: str) -> None:
        logger.error("index %s: %s", self.status.name, error)
        self.status = replace(self.status, error=self.status.error or error)


def _sources(directory: Path) -> list[Path]:
    """Return the directories of files that could be served, best first."""
    try:
        current = current_generation(directory)
        if current is not None:
            older = [path for path in list_generations(directory) if path.name < current.name]
            return [current, *reversed(older)]
        if any((directory / name).exists() for name in (BIN_NAME, TXT_NAME)):
            return [directory]
    except OSError:
        return [directory]  # loading it reports the error
    return []


def _fingerprint(source: Path) -> object:
    return source, [_file_identity(source / name) for name in _NAMES]


def _file_identity(path: Path) -> tuple[int, ...] | None:
    try:
        return identity(path.stat())
    except OSError:
        return None
