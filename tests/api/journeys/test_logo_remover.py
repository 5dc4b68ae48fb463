"""When deletions are reported to the feed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.app import AnnApp
from api.journeys.logo_remover import LogoRemover
from api.journeys.write_limit import WriteLimit
from embeddings.errors import StoreUnavailableError
from tests.api.conftest import LOGO_IDS


def test_deletions_of_stored_logos_are_reported_once_they_are_done(open_app: Callable[..., AnnApp]) -> None:
    parts = open_app().parts
    store = parts.store
    reported: list[tuple[list[int], bool]] = []
    remover = LogoRemover(
        store,
        parts.attributes,
        limit=WriteLimit(1),
        on_removed=lambda removed: reported.append((removed, removed[0] in store)),
    )
    assert remover.remove([LOGO_IDS[5], 77]) == [LOGO_IDS[5]]
    assert remover.remove([LOGO_IDS[5]]) == []
    assert remover.remove([77]) == []
    assert reported == [([LOGO_IDS[5]], False)]


def test_attributes_are_gone_before_their_logos_are(
    open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = open_app().parts
    parts.attributes.merge({LOGO_IDS[5]: {"value": "a"}, LOGO_IDS[6]: {"value": "b"}})

    def fails(logo_ids: object) -> list[int]:
        raise StoreUnavailableError("the disk is gone")

    monkeypatch.setattr(parts.store, "delete", fails)
    with pytest.raises(StoreUnavailableError):
        LogoRemover(parts.store, parts.attributes, limit=WriteLimit(1)).remove([LOGO_IDS[5]])
    assert parts.attributes.get(LOGO_IDS) == {LOGO_IDS[6]: {"value": "b"}}
    assert LOGO_IDS[5] in parts.store


def test_attributes_that_are_set_while_their_logo_is_deleted_go_with_it(
    open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = open_app().parts
    delete = parts.store.delete

    def set_first(logo_ids: list[int]) -> list[int]:
        parts.attributes.merge({LOGO_IDS[5]: {"value": "a"}})
        return delete(logo_ids)

    monkeypatch.setattr(parts.store, "delete", set_first)
    assert LogoRemover(parts.store, parts.attributes, limit=WriteLimit(1)).remove([LOGO_IDS[5]]) == [LOGO_IDS[5]]
    assert parts.attributes.get([LOGO_IDS[5]]) == {}
