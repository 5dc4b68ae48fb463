"""The remove journey: from logo ids to deleted rows of the store. From then on, no search finds the logos."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api.journeys.logo_attributes import LogoAttributes
from api.journeys.write_limit import WriteLimit
from embeddings.store.store import EmbeddingStore


class LogoRemover:
    """Deletes logos from the store, within limits.

    Attributes go first: a crash in between leaves logos without attributes, which the same request deletes when it is
    sent again, and never attributes that the next logo of the same id would get.

    Args:
        store: the logos.
        attributes: of these logos.
        limit: how many requests may change the store at once.
        on_removed: called with the ids of the deleted logos, once the deletion is on disk.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        attributes: LogoAttributes,
        *,
        limit: WriteLimit,
        on_removed: Callable[[list[int]], None] | None = None,
    ) -> None:
        self._store = store
        self._attributes = attributes
        self._limit = limit
        self._on_removed = on_removed

    def remove(self, logo_ids: Sequence[int]) -> list[int]:
        """Delete logos, durably, and return the ids of those that were stored, in order, each once.

        Raises:
            StoreError: the store or the attributes cannot be written; some logos may be deleted.
            TooManyWritesError: as many requests as allowed are changing the store; try again.
        """
        with self._limit.turn():
            self._attributes.drop(logo_ids)
            removed = self._store.delete(logo_ids)
            # A change of attributes that began before may have set some since, for logos that it still found.
            self._attributes.drop(self._store.missing(removed))
            if removed and self._on_removed is not None:
                self._on_removed(removed)
        return removed
