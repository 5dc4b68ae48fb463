"""`/metrics` of one process: counters and gauges."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from pathlib import Path

import falcon.testing
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.app import AnnApp
from index.files.generations import publish
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.api.routes.test_adds import BOX, add
from tests.index.samples import build
from tests.photo_server import PhotoServer
from tests.waiting import wait_until

Client = falcon.testing.TestClient
Labels = tuple[tuple[str, str], ...]


def metrics(client: Client) -> dict[str, dict[Labels, float]]:
    """Return all samples by name and labels."""
    answer = client.simulate_get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def requests(client: Client) -> dict[tuple[str, str, str], float]:
    """Return the number of counted requests by method, route and status."""
    counted = metrics(client).get("robotoff_ann_requests_total", {})
    return {(d["method"], d["route"], d["status"]): n for labels, n in counted.items() for d in [dict(labels)]}


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_requests_are_counted_by_method_route_and_status(client: Client) -> None:
    for path in ("/api/v1/ann/3", "/api/v1/ann/1001/", "/api/v1/ann/7", "/api/v1/ann?count=x", "/nothing", "/a/b/c"):
        client.simulate_get(path)
    client.simulate_delete("/api/v1/ann/3")
    client.simulate_options("/api/v1/ann/batch")
    client.simulate_request("BREW", "/coffee")
    assert requests(client) == {
        ("GET", "/api/v1/ann/{logo_id}", "200"): 2,
        ("GET", "/api/v1/ann/{logo_id}", "404"): 1,
        ("GET", "/api/v1/ann", "400"): 1,
        ("GET", "unmatched", "404"): 2,
        ("DELETE", "/api/v1/ann/{logo_id}", "405"): 1,
        ("OPTIONS", "/api/v1/ann/batch", "200"): 1,
        ("other", "unmatched", "404"): 1,
    }
    assert requests(client)["GET", "/metrics", "200"] == 1


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_clients_cannot_create_labels(client: Client) -> None:
    client.simulate_get("/metrics")
    before = len(client.simulate_get("/metrics").text.splitlines())
    for number in range(50):
        client.simulate_get(f"/{number}/x?index={number}")
        client.simulate_request(f"M{number}", "/")
        client.simulate_get(f"/api/v1/ann/{number + 10**6}?index={number}")
    after = len(client.simulate_get("/metrics").text.splitlines())
    assert after - before < 100


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_only_requests_that_a_route_accepts_are_timed(client: Client) -> None:
    methods = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW")
    for method in methods:
        for path in ("/api/v1/ann/count", "/livez", "/nothing"):
            client.simulate_request(method, path)
    assert len(requests(client)) == 3 * len(methods)
    timed = metrics(client)["robotoff_ann_request_duration_seconds_count"]
    assert {(dict(labels)["method"], dict(labels)["route"]) for labels in timed} == {
        ("GET", "/api/v1/ann/count"),
        ("OPTIONS", "/api/v1/ann/count"),
        ("GET", "/livez"),
        ("HEAD", "/livez"),
        ("OPTIONS", "/livez"),
        ("GET", "/metrics"),
    }


def test_refused_body_is_counted_under_its_route(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app(max_body_bytes=10))
    client.simulate_post("/api/v1/ann/add/", json={"image_url": "x" * 100, "logos": []})
    client.simulate_post("/nothing", json={"image_url": "x" * 100})
    counted = requests(client)
    assert counted["POST", "/api/v1/ann/add", "413"] == 1
    assert counted["POST", "unmatched", "413"] == 1


def test_each_stage_of_an_add_and_a_query_is_timed(client: Client, photos: PhotoServer) -> None:
    def stages(what: str) -> dict[str, float]:
        found = metrics(client)[f"robotoff_ann_stage_duration_seconds_{what}"]
        return {dict(labels)["stage"]: value for labels, value in found.items()}

    counted, seconds = stages("count"), stages("sum")
    assert add(client, photos.url("/1.jpg"), (900, BOX)).json == {"added": 1}
    client.simulate_get("/api/v1/ann/900")
    new = {stage: count - counted[stage] for stage, count in stages("count").items()}
    assert new == {"fetch": 1, "decode": 1, "embed": 1, "append": 1, "send": 0, "search": 1, "serialise": 2}
    taken = {stage: total - seconds[stage] for stage, total in stages("sum").items()}
    assert taken.pop("send") == 0  # only with Milvus
    assert min(taken.values()) > 0
    whole = metrics(client)["robotoff_ann_request_duration_seconds_sum"]
    assert sum(taken.values()) <= sum(whole.values())


def test_logos_and_rows_are_current(open_app: Callable[..., AnnApp]) -> None:
    app = open_app(store_capacity=1000)
    client = Client(app)

    def numbers() -> list[float]:
        found = metrics(client)
        names = ("logos_stored", "store_capacity_rows", "store_rows_left")
        index = (("index", "efficientnet-b0"),)
        return [found[f"robotoff_ann_{name}"][index] for name in (*names, "logos_indexed", "logos_waiting")]

    capacity = app.parts.store.capacity
    assert numbers() == [60, capacity, capacity - 60, len(INDEXED), len(STORED_ONLY)]
    app.parts.store.append([900], VECTORS[:1])
    app.parts.store.delete([INDEXED[0]])  # its row is still used
    assert numbers() == [60, capacity, capacity - 61, len(INDEXED), len(STORED_ONLY) + 1]


def test_index_has_metrics_of_its_time_age_recall_and_loads(data_dir: Path, open_app: Callable[..., AnnApp]) -> None:
    app = open_app()
    client = Client(app)
    index = (("index", "efficientnet-b0"),)
    assert index not in metrics(client).get("robotoff_ann_index_age_seconds", {})
    directory = data_dir / "efficientnet-b0"
    publish(directory, lambda folder: build(folder, (np.array(LOGO_IDS), VECTORS)))
    wait_until(lambda: app.parts.catalog.status()[0].items == len(LOGO_IDS))
    found = metrics(client)
    assert abs(found["robotoff_ann_index_generation_timestamp_seconds"][index] - time.time()) < 300
    assert 0 <= found["robotoff_ann_index_age_seconds"][index] < 300
    assert found["robotoff_ann_logos_waiting"][index] == 0
    assert found["robotoff_ann_index_broken"][index] == 0
    loads = found["robotoff_ann_index_loads_total"]
    assert loads[*index, ("result", "ok")] == 2
    assert loads[*index, ("result", "failed")] == 0
    publish(directory, lambda folder: build(folder, (np.array(LOGO_IDS), VECTORS)))
    broken = max((directory / "generations").iterdir()) / "index.txt"
    broken.write_text("1\n")
    wait_until(lambda: app.parts.catalog.status()[0].error is not None)
    found = metrics(client)
    assert found["robotoff_ann_index_broken"][index] == 1
    assert found["robotoff_ann_index_loads_total"][*index, ("result", "failed")] >= 1


def test_readiness_is_a_metric_and_a_lost_store_leaves_the_other_metrics(data_dir: Path, client: Client) -> None:
    assert metrics(client)["robotoff_ann_ready"][()] == 1
    (data_dir / "efficientnet-b0.hdf5").write_bytes(b"")
    (data_dir / "other").write_bytes(b"")
    (data_dir / "other").replace(data_dir / "efficientnet-b0.hdf5")
    found = metrics(client)
    assert found["robotoff_ann_ready"][()] == 0
    assert found["robotoff_ann_check"][(("check", "store"),)] == 0
    assert found["robotoff_ann_check"][(("check", "index"),)] == 1
    assert "robotoff_ann_logos_stored" not in found


def test_refused_writes_are_counted(open_app: Callable[..., AnnApp], photos: PhotoServer) -> None:
    app = open_app(add_concurrency=1)
    client = Client(app)
    assert metrics(client)["robotoff_ann_writes_refused_total"][()] == 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(add, client, photos.url("/slow"), (900, BOX))
        wait_until(lambda: photos.requests)
        assert add(client, photos.url("/2.jpg"), (901, BOX)).status_code == 503
        photos.release.set()
        assert first.result().json == {"added": 1}
    assert metrics(client)["robotoff_ann_writes_refused_total"][()] == 1


def test_two_apps_in_one_process_count_separately(open_app: Callable[..., AnnApp]) -> None:
    first, second = Client(open_app()), Client(open_app())
    first.simulate_get("/livez")
    assert ("GET", "/livez", "200") in requests(first)
    assert ("GET", "/livez", "200") not in requests(second)
