"""`DELETE /api/v1/ann/{logo_id}`, and its effect on the other routes."""

from __future__ import annotations

import concurrent.futures
import fcntl
from collections.abc import Callable
from pathlib import Path

import falcon.testing
import pytest

from api.app import AnnApp
from embeddings.store.store import EmbeddingStore
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.photo_server import PhotoServer
from tests.waiting import wait_until

Client = falcon.testing.TestClient
A = "/api/v1/ann"


@pytest.fixture
def client(open_app: Callable[..., AnnApp]) -> Client:
    return Client(open_app(allow_delete=True))


def ids(answer: falcon.testing.Result) -> list[int]:
    return [row["logo_id"] for row in answer.json["results"]]


def test_deletion_needs_the_setting(open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app())
    answer = client.simulate_delete(f"{A}/{INDEXED[0]}")
    assert answer.status_code == 405
    assert "DELETE" not in answer.headers["allow"]
    assert client.simulate_get(f"{A}/{INDEXED[0]}").status_code == 200


@pytest.mark.parametrize("logo_id", [INDEXED[3], STORED_ONLY[2]])
def test_deleted_logo_is_unknown_to_every_route(client: Client, logo_id: int) -> None:
    answer = client.simulate_delete(f"{A}/{logo_id}")
    assert (answer.status_code, answer.json) == (200, {"deleted": 1})
    assert client.simulate_get(f"{A}/{logo_id}").status_code == 404
    assert client.simulate_get(f"{A}/batch?logo_ids={logo_id},{INDEXED[0]}").json["count"] == 1
    assert client.simulate_get(f"{A}/count").json == {"count": 59}
    assert client.simulate_get(f"{A}/stored").json["stored"] == [known for known in LOGO_IDS if known != logo_id]
    answer = client.simulate_delete(f"{A}/{logo_id}")
    assert (answer.status_code, answer.json["title"]) == (404, "unknown logo")


def test_unknown_logo_cannot_be_deleted(client: Client) -> None:
    for logo_id in ("77", "0", str(2**70)):
        assert client.simulate_delete(f"{A}/{logo_id}").status_code == 404
    assert client.simulate_get(f"{A}/count").json == {"count": 60}


def test_deleted_logos_are_replaced_among_neighbours(client: Client) -> None:
    asked = INDEXED[0]
    before = ids(client.simulate_get(f"{A}/{asked}?count=40"))
    gone = before[1:8]
    for logo_id in gone:
        client.simulate_delete(f"{A}/{logo_id}")
    left = [logo_id for logo_id in before if logo_id not in gone]
    assert ids(client.simulate_get(f"{A}/{asked}?count=5")) == left[:5]
    assert ids(client.simulate_get(f"{A}/{asked}?count=500")) == left
    body = {"embedding": VECTORS[0].tolist(), "count": 3}
    assert ids(client.simulate_post(f"{A}/from_embedding", json=body)) == left[:3]
    for _ in range(20):
        assert not set(gone) & set(ids(client.simulate_get(A)))


def test_blocked_deletions_count_with_adds_and_leave_threads_for_queries(
    open_app: Callable[..., AnnApp], data_dir: Path, photos: PhotoServer
) -> None:
    client = Client(open_app(allow_delete=True, add_concurrency=1))
    add = {"image_url": photos.url("/1.jpg"), "logos": [{"id": 900, "bounding_box": [0, 0, 1, 1]}]}
    with concurrent.futures.ThreadPoolExecutor() as pool, (data_dir / "efficientnet-b0.hdf5.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        deletions = [pool.submit(client.simulate_delete, f"{A}/{logo_id}") for logo_id in INDEXED[:4]]
        wait_until(lambda: sum(deletion.done() for deletion in deletions) == 3)  # the other waits for the lock
        assert client.simulate_get(f"{A}/{INDEXED[5]}?count=1").status_code == 200
        refused = client.simulate_post(f"{A}/add", json=add)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json["title"] == "too many changes at once"
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert sorted(deletion.result().status_code for deletion in deletions) == [200, 503, 503, 503]
    assert client.simulate_get(f"{A}/count").json == {"count": 59}
    assert client.simulate_post(f"{A}/add", json=add).json == {"added": 1}


def test_logos_deleted_by_another_process_are_left_out_at_once(client: Client, data_dir: Path) -> None:
    before = ids(client.simulate_get(f"{A}/{INDEXED[0]}?count=3"))
    with EmbeddingStore(data_dir / "efficientnet-b0.hdf5") as store:
        store.delete([before[1]])
    assert before[1] not in ids(client.simulate_get(f"{A}/{INDEXED[0]}?count=3"))


def test_random_logo_is_not_a_deleted_one(client: Client, data_dir: Path) -> None:
    with EmbeddingStore(data_dir / "efficientnet-b0.hdf5") as store:
        store.delete(INDEXED[20:])
    for _ in range(10):
        assert client.simulate_get(f"{A}?count=1").json["results"][0]["distance"] == 0


def test_index_of_deleted_logos_counts_as_empty(client: Client, data_dir: Path) -> None:
    with EmbeddingStore(data_dir / "efficientnet-b0.hdf5") as store:
        store.delete(INDEXED)
    assert client.simulate_get(A).json == {"results": [], "count": 0}
    assert ids(client.simulate_get(f"{A}/{STORED_ONLY[0]}")) == []


def test_a_misspelt_index_deletes_nothing(client: Client) -> None:
    answer = client.simulate_delete(f"{A}/{INDEXED[0]}?index=typo")
    assert (answer.status_code, answer.json["title"]) == (400, "unknown index: typo")
    assert client.simulate_get(f"{A}/count").json == {"count": 60}
