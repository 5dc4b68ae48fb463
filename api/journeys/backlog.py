"""Count the stored logos that are not yet indexed, without reading the ids of store or index.

The count is the number of stored logos minus the number of indexed ones. An index keeps deleted logos until it is built
again, so the number of deleted logos that it still holds is added: there are few, and each is looked up once for each
index. The count is exact if the index was built from this store and only deletions have removed logos since. After
`repair` removes a damaged row, for example, the count is one too low until the next build.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from embeddings.store.store import EmbeddingStore
from index.protocol import SearchIndex

if TYPE_CHECKING:
    from index.milvus.feed import Feed


class Backlog:
    """The logos that are stored and not yet indexed. Threads may share it.

    Args:
        store: the logos.
        feed: sends logos to Milvus, and knows how many it has not sent; `None` without Milvus.
    """

    def __init__(self, store: EmbeddingStore, feed: Feed | None = None) -> None:
        self._store = store
        self._feed = feed
        self._mutex = threading.Lock()
        self._deleted: WeakKeyDictionary[SearchIndex, tuple[int, list[int]]] = WeakKeyDictionary()

    def count(self, index: SearchIndex, *, stored: int) -> int:
        """Return how many of the `stored` logos are not yet in an index.

        This takes a few microseconds, and about ten more for each deleted logo that the index still holds.
        """
        if self._feed is not None:
            return self._feed.count_unsent() if self._feed.feeds(index) else max(0, stored - len(index))
        return max(0, stored - len(index) + len(self._store.deleted_among(self._deleted_of(index))))

    def _deleted_of(self, index: SearchIndex) -> list[int]:
        """Return the logos of an index that were deleted at some time; they may have been added again."""
        deleted = self._store.ever_deleted()
        with self._mutex:
            known = self._deleted.get(index)
            if known is None or known[0] != len(deleted):  # the set of deleted ids only grows
                known = self._deleted[index] = len(deleted), [logo_id for logo_id in deleted.copy() if logo_id in index]
            return known[1]
