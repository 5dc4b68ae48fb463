"""The thread that looks for new indexes while queries run: it goes on whatever happens, and ends when told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.catalog import IndexCatalog
from tests.index.catalogs import QUERY, catalog_of, publish_logos
from tests.waiting import wait_until


def wait_for(catalog: IndexCatalog, count: int) -> None:
    wait_until(lambda: len(catalog.get(None)) == count)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[IndexCatalog]:
    catalog = catalog_of(tmp_path, reload_seconds=0.01)
    catalog.start()
    yield catalog
    catalog.close()


def test_the_watcher_takes_in_generations_while_queries_run(tmp_path: Path, watched: IndexCatalog) -> None:
    sizes, done = set[int](), threading.Event()

    def ask() -> None:
        while not done.is_set():
            index = watched.get(None)
            found = index.nearest_to_vector(QUERY, 1000)
            assert len(found.logo_ids) == len(index)
            sizes.add(len(index))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for count in range(20, 320, 20):
        publish_logos(tmp_path / "logos", count)
        wait_for(watched, count)
    done.set()
    for client in clients:
        client.join()

    assert len(sizes) > 5


def test_the_watcher_survives_what_nobody_foresaw(
    tmp_path: Path, watched: IndexCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("index.catalog.load_index", None)
        publish_logos(tmp_path / "logos", 20)
        wait_until(lambda: "the next check is in 0.01 s" in caplog.text)

    wait_for(watched, 20)


def test_closing_stops_the_watcher(tmp_path: Path, watched: IndexCatalog) -> None:
    watched.close()
    watched.close()

    publish_logos(tmp_path / "logos", 20)
    time.sleep(0.1)

    assert len(watched.get(None)) == 0


def test_a_catalog_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    catalog_of(tmp_path).close()
