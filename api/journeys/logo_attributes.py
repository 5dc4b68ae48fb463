"""The attributes of the logos in one store. Their file is created when the first attribute is set.

Without a file, no logo has attributes.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.attributes.attribute_store import Attributes, AttributeStore, attributes_path
from embeddings.attributes.filters import Condition
from embeddings.attributes.limits import DEFAULT_LIMITS, AttributeLimits
from embeddings.attributes.matching import MatchingLogos
from embeddings.attributes.pairs import KeyCount, ValueCount

_NOBODY = np.zeros(0, np.int64)


class LogoAttributes:
    """The attributes beside a store. Threads may share it; open it after forking.

    Every method raises DamagedAttributesError if the file is damaged, and StoreUnavailableError if it cannot be used.

    Args:
        store_path: the store that they belong to.
        limits: which attributes may be set.
    """

    def __init__(self, store_path: Path, limits: AttributeLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._path = attributes_path(store_path)
        self._mutex = threading.Lock()
        self._store: AttributeStore | None = None
        self._matching: MatchingLogos | None = None

    def merge(self, changes: Mapping[int, Mapping[str, str | None]]) -> None:
        """Set attributes, durably; see `AttributeStore.merge`."""
        self._opened().merge(changes)

    def drop(self, logo_ids: Collection[int]) -> None:
        """Remove all attributes of some logos, durably. Nothing is written if they have none."""
        known = self.get(logo_ids)
        if known:
            self._opened().drop(known)

    def get(self, logo_ids: Collection[int]) -> dict[int, Attributes]:
        """Return the attributes of those of the logos that have any, by their ids."""
        store = self._known()
        return {} if store is None else store.get(_possible(logo_ids))

    def values_of(self, key: str, logo_ids: Collection[int]) -> dict[int, str]:
        """Return the value of one key of those of the logos that have it, by their ids."""
        store = self._known()
        return {} if store is None else store.values_of(key, logo_ids)

    def used_keys(self) -> list[KeyCount]:
        """Return the keys in use, in alphabetical order."""
        store = self._known()
        return [] if store is None else store.keys()

    def counts(self, key: str, *, prefix: str, limit: int) -> list[ValueCount]:
        """Return the values of a key that begin with a prefix, the most frequent first; see `AttributeStore.counts`."""
        store = self._known()
        return [] if store is None else store.counts(key, prefix=prefix, limit=limit)

    def matching(self, conditions: Sequence[Condition]) -> NDArray[np.int64]:
        """Return the ids of the logos for which all conditions hold; see `MatchingLogos.ids`."""
        return _NOBODY if self._known() is None or self._matching is None else self._matching.ids(conditions)

    def close(self) -> None:
        """Close the file; no thread may be using it."""
        with self._mutex:
            if self._store is not None:
                self._store.close()

    def _known(self) -> AttributeStore | None:
        """Return the opened file; `None` if there is none."""
        return self._opened() if self._store is not None or self._path.exists() else None

    def _opened(self) -> AttributeStore:
        """Return the opened file, created if missing."""
        with self._mutex:
            if self._store is None:
                self._store = AttributeStore(self._path, limits=self.limits)
                self._matching = MatchingLogos(self._store)
            return self._store


def _possible(logo_ids: Collection[int]) -> list[int]:
    """Return the ids that a logo can have: SQLite stores no larger integers."""
    return [logo_id for logo_id in logo_ids if 0 < logo_id < 2**63]
