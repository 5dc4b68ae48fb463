"""The thread that looks at Milvus finds what changes, and is no burden to a machine whose Milvus is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.errors import EngineUnreachableError
from index.milvus.catalog import MilvusCatalog
from index.milvus.client import ConnectionOptions, Milvus
from tests.index.samples import some_logos
from tests.milvus.samples import DIM, build, milvus_at, store_with
from tests.milvus.servers.lite import LiteServer
from tests.waiting import wait_until


class LookedAt(Milvus):
    """A connection that counts the looks, answered or not."""

    looks = 0

    def call(self, method: str, *args: object, seconds: float, **options: object) -> object:
        self.looks += method == "list_aliases"
        return super().call(method, *args, seconds=seconds, **options)


@pytest.fixture
def milvus(lite: LiteServer) -> LookedAt:
    return LookedAt(ConnectionOptions(lite.uri))


@pytest.fixture
def catalog(lite: LiteServer, milvus: LookedAt, tmp_path: Path) -> Iterator[MilvusCatalog]:
    with store_with(tmp_path / "s.hdf5", some_logos(20)) as store:
        build(milvus_at(lite), store, tmp_path / "index")
        catalog = MilvusCatalog(milvus, tmp_path, dim=DIM, default="index", vectors=store.vectors, reload_seconds=0.25)
        catalog.start()
        yield catalog
        catalog.close()


def test_a_milvus_that_is_gone_is_looked_for_at_the_usual_pace(
    lite: LiteServer, milvus: LookedAt, catalog: MilvusCatalog
) -> None:
    """A connection that is refused is refused at once, so a look that fails must not call for the next."""
    lite.kill()
    wait_until(lambda: not _answers(catalog))
    before, began = milvus.looks, time.monotonic()
    wait_until(lambda: milvus.looks >= before + 4)
    assert time.monotonic() - began >= 3 * 0.25


def test_a_query_that_goes_unanswered_calls_for_a_look(
    lite: LiteServer, milvus: LookedAt, catalog: MilvusCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_reload_seconds", 3600.0)
    time.sleep(0.5)  # the wait that is under way ends
    index = catalog.get(None)
    lite.kill()
    before = milvus.looks
    with pytest.raises(EngineUnreachableError):
        index.nearest_to_logo(1, 5)
    wait_until(lambda: milvus.looks > before)


def _answers(catalog: MilvusCatalog) -> bool:
    try:
        catalog.get(None)
    except EngineUnreachableError:
        return False
    return True
