"""How many stored logos wait for the next index: told at any time, without reading the ids of either.

Stored logos less those that the index holds. An index goes on holding logos that were deleted, so these are counted
apart: there are few, and which of them the index holds is found once for each deletion and each index. The count is
exact as long as the index was built from this store and nothing but deletions took logos out of it; after a damaged row
was put aside, say, it is one too low until the next index.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from embeddings.store.store import EmbeddingStore
from index.protocol import SearchIndex

if TYPE_CHECKING:
    from index.milvus.feed import Feed


class WaitingLogos:
    """Counts the logos that indexes do not hold yet. Threads may share it.

    Args:
        store: the logos.
        feed: what sends them to an engine elsewhere, which knows how far it is; `None` if there is none.
    """

    def __init__(self, store: EmbeddingStore, feed: Feed | None = None) -> None:
        self._store = store
        self._feed = feed
        self._mutex = threading.Lock()
        self._deleted: WeakKeyDictionary[SearchIndex, tuple[int, list[int]]] = WeakKeyDictionary()

    def count(self, index: SearchIndex, *, stored: int) -> int:
        """Answer how many of so many stored logos an index does not hold.

        It takes microseconds, and about ten more for each deleted logo that the index still holds.
        """
        if self._feed is not None:
            return self._feed.waiting() if self._feed.feeds(index) else max(0, stored - len(index))
        return max(0, stored - len(index) + len(self._store.deleted_among(self._deleted_of(index))))

    def _deleted_of(self, index: SearchIndex) -> list[int]:
        """Return which logos of an index were ever deleted."""
        deleted = self._store.ever_deleted()
        with self._mutex:
            known = self._deleted.get(index)
            if known is None or known[0] != len(deleted):  # ids are only ever added to them
                known = self._deleted[index] = len(deleted), [logo_id for logo_id in deleted.copy() if logo_id in index]
            return known[1]
