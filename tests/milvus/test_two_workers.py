"""The real service with two worker processes, and Milvus beside it."""

from __future__ import annotations

import concurrent.futures
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from embeddings.store.store import EmbeddingStore
from index.milvus import retirement
from index.milvus.build import CollectionBuild
from index.milvus.client import ConnectionOptions, Milvus
from index.milvus.plan import CollectionPlan
from settings import Settings
from tests.end_to_end.service import Service
from tests.milvus import indexed
from tests.milvus.indexed import INDEXED
from tests.milvus.servers.server import MilvusServer
from tests.milvus.servers.standalone import StandaloneServer
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE, wait_until


def service_of(server: MilvusServer, data_dir: Path) -> Service:
    return Service(data_dir, workers=2, **indexed.variables_of(server))


def from_each_worker(service: Service, path: str) -> list[set[int]]:
    """Which logos are found, asked often enough for both workers to have answered."""
    answers = [service.get(path) for _ in range(12)]
    return [{row["logo_id"] for row in answer.json().get("results", [])} for answer in answers]


def test_what_one_worker_adds_or_deletes_is_found_or_gone_in_the_answers_of_both(
    standalone: StandaloneServer, data_dir: Path, photos: PhotoServer
) -> None:
    indexed.note_as_indexed(data_dir, indexed.index(standalone))
    with service_of(standalone, data_dir) as service, concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = f"/{INDEXED[0]}?count=100"
        wait_until(lambda: all(found == set(INDEXED) for found in from_each_worker(service, asked)))
        added = list(range(900, 908))
        answers = pool.map(lambda logo_id: service.add(photos.url(f"/{logo_id % 20}.jpg"), logo_id).json(), added)
        assert all(answer == {"added": 1} for answer in answers)
        assert all(found == {*INDEXED, *added} for found in from_each_worker(service, asked))
        found = from_each_worker(service, "/900?count=100")
        assert all(of_one == {*INDEXED, *added} - {900} for of_one in found)  # it is not yet indexed
        assert requests.delete(service.url("/900"), timeout=PATIENCE).json() == {"deleted": 1}
        assert all(found == {*INDEXED, *added} - {900} for found in from_each_worker(service, asked))
        assert {service.get("/900").status_code for _ in range(12)} == {404}
        assert " ERROR " not in service.log


def test_no_query_fails_or_lacks_neighbours_while_the_index_is_built_anew(
    standalone: StandaloneServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed.note_as_indexed(data_dir, indexed.index(standalone))
    all_logos = f"/{INDEXED[1]}?count=60"
    done = threading.Event()
    wrong: list[Any] = []
    asked = 0

    def ask(service: Service) -> None:
        nonlocal asked
        while not done.is_set():
            for path in (f"/{INDEXED[1]}?count=40", f"/batch?logo_ids={INDEXED[2]},{INDEXED[3]}&count=40"):
                answer = service.get(path)
                results = answer.json().get("results", [])
                rows = results[str(INDEXED[3])] if isinstance(results, dict) else results
                if answer.status_code != 200 or len({row["logo_id"] for row in rows} & known) != 40:
                    wrong.append((path, answer.status_code, answer.text[:300]))
                asked += 1

    connection = Milvus(ConnectionOptions(standalone.uri))
    plan = CollectionPlan("FLAT", keep=1)
    with (
        EmbeddingStore(Settings(data_dir=data_dir).store_path) as store,
        service_of(standalone, data_dir) as service,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        known = set(store.ids().tolist())
        wait_until(lambda: all(found == set(INDEXED) for found in from_each_worker(service, all_logos)))

        def wait_for_both_workers(seconds: float) -> None:
            wait_until(lambda: all(found == known for found in from_each_worker(service, all_logos)))

        monkeypatch.setattr(retirement, "time", SimpleNamespace(sleep=wait_for_both_workers))
        asking = [pool.submit(ask, service) for _ in range(2)]
        try:
            built = CollectionBuild(connection, store, data_dir / indexed.INDEX, plan).run()
        finally:
            done.set()
        for one in asking:
            one.result()
        assert wrong == []
        assert asked > 50
        assert service.get("/status").json()["generation"] == built.stamp
        assert " ERROR " not in service.log
    assert connection.call("list_collections", seconds=PATIENCE) == [built.name]
    connection.close()
