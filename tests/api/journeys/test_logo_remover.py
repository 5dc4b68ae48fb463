"""When deletions are reported to the feed."""

from __future__ import annotations

from collections.abc import Callable

from api.app import AnnApp
from api.journeys.logo_remover import LogoRemover
from api.journeys.write_limit import WriteLimit
from tests.api.conftest import LOGO_IDS


def test_deletions_of_stored_logos_are_reported_once_they_are_done(open_app: Callable[..., AnnApp]) -> None:
    store = open_app().parts.store
    reported: list[tuple[list[int], bool]] = []
    remover = LogoRemover(
        store, limit=WriteLimit(1), on_removed=lambda removed: reported.append((removed, removed[0] in store))
    )
    assert remover.remove(LOGO_IDS[5])
    assert not remover.remove(LOGO_IDS[5])
    assert not remover.remove(77)
    assert reported == [([LOGO_IDS[5]], False)]
