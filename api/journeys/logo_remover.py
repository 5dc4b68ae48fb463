"""The remove journey: from a logo id to a deleted row of the store. From then on, no search finds the logo."""

from __future__ import annotations

from collections.abc import Callable

from api.journeys.write_limit import WriteLimit
from embeddings.store.store import EmbeddingStore


class LogoRemover:
    """Deletes logos from the store, within limits.

    Args:
        store: the logos.
        limit: how many requests may change the store at once.
        on_removed: called with the ids of the deleted logos, once the deletion is on disk.
    """

    def __init__(
        self, store: EmbeddingStore, *, limit: WriteLimit, on_removed: Callable[[list[int]], None] | None = None
    ) -> None:
        self._store = store
        self._limit = limit
        self._on_removed = on_removed

    def remove(self, logo_id: int) -> bool:
        """Delete a logo, durably, and return whether it was stored.

        Raises:
            StoreError: the store cannot be written.
            TooManyWritesError: as many requests as allowed are changing the store; try again.
        """
        with self._limit.turn():
            removed = self._store.delete([logo_id])
            if removed and self._on_removed is not None:
                self._on_removed(removed)
        return bool(removed)
