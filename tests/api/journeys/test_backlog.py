"""The number of stored logos that are not yet indexed."""

from __future__ import annotations

from collections.abc import Callable

from api.app import AnnApp
from api.journeys.backlog import Backlog
from tests.api.conftest import INDEXED, STORED_ONLY, VECTORS


def test_backlog_is_counted_through_adds_and_deletions(open_app: Callable[..., AnnApp]) -> None:
    parts = open_app().parts
    backlog = Backlog(parts.store)
    index = parts.catalog.get(None)

    def counted() -> int:
        exact = len(index.absent(parts.store.ids()))
        assert backlog.count(index, stored=len(parts.store)) == exact
        return exact

    assert counted() == len(STORED_ONLY)
    parts.store.append([900, 901], VECTORS[:2])
    assert counted() == len(STORED_ONLY) + 2
    parts.store.delete([900, INDEXED[0], INDEXED[1], STORED_ONLY[0]])
    assert counted() == len(STORED_ONLY)
    parts.store.append([INDEXED[0], STORED_ONLY[0]], VECTORS[:2])  # deleted, and added again
    assert counted() == len(STORED_ONLY) + 1
