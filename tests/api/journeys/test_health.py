"""`/livez`, `/readyz` and `/api/v1/health`."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from api.app import AnnApp
from embeddings.errors import StoreUnavailableError
from embeddings.maintenance.rewrite import rewrite_store
from tests.api.conftest import INDEXED, LOGO_IDS, STORED_ONLY, VECTORS
from tests.original_files import write_pair, write_store
from tests.waiting import wait_until

Client = falcon.testing.TestClient


def readiness(client: Client) -> tuple[int, dict[str, dict[str, Any]]]:
    answer = client.simulate_get("/readyz")
    assert answer.headers["cache-control"] == "no-store"
    status = {200: "ready", 503: "not ready"}[answer.status_code]
    assert answer.json["status"] == status
    assert list(answer.json["checks"]) == ["store", "index", "model"]
    return answer.status_code, answer.json["checks"]


def health(client: Client) -> tuple[int, dict[str, tuple[bool, str]]]:
    answer = client.simulate_get("/api/v1/health")
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json) == {"hostname", "status", "timestamp", "results"}
    assert answer.json["status"] == {200: "success", 500: "failure"}[answer.status_code]
    assert abs(answer.json["timestamp"] - time.time()) < 60
    for result in answer.json["results"]:
        assert set(result) == {"checker", "output", "passed", "timestamp", "expires", "response_time"}
    return answer.status_code, {row["checker"]: (row["passed"], row["output"]) for row in answer.json["results"]}


def assert_queries_are_answered(client: Client) -> None:
    assert client.simulate_get("/api/v1/ann/3?count=2").json["count"] == 2


def test_running_service_is_alive(client: Client) -> None:
    answer = client.simulate_get("/livez")
    assert (answer.status_code, answer.json) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/v1/health"])
def test_monitors_may_send_head(data_dir: Path, client: Client, path: str) -> None:
    asked = client.simulate_head(path)
    assert (asked.status_code, asked.text) == (200, "")
    (data_dir / "efficientnet-b0.hdf5").unlink()
    assert client.simulate_head(path).status_code == client.simulate_get(path).status_code


def test_ready_service_reports_store_index_and_model(client: Client) -> None:
    status, checks = readiness(client)
    assert status == 200
    assert checks["store"] == {"ok": True, "detail": f"{len(LOGO_IDS)} logos, room for 440 more"}
    assert checks["index"] == {"ok": True, "detail": f"{len(INDEXED)} logos of original pair"}
    assert "efficientnet-lite0, bundled weights" in checks["model"]["detail"]
    status, results = health(client)
    assert status == 200
    assert all(passed for passed, _ in results.values())
    assert set(results) == {"store", "index", "model", "adds", "newest index"}


def test_service_without_an_index_is_ready_and_reports_that(tmp_path: Path, open_app: Callable[..., AnnApp]) -> None:
    status, checks = readiness(Client(open_app(data_dir=tmp_path / "fresh")))
    assert status == 200
    assert checks["index"]["detail"] == "empty: none has been built yet"


def test_index_that_cannot_be_served_is_named_without_its_folders(
    data_dir: Path, open_app: Callable[..., AnnApp]
) -> None:
    (data_dir / "efficientnet-b0" / "index.txt").write_text("1\n")
    client = Client(open_app())
    assert client.simulate_get("/api/v1/ann").status_code == 503
    status, checks = readiness(client)
    assert status == 503
    assert [name for name, check in checks.items() if not check["ok"]] == ["index"]
    assert "index.bin" in checks["index"]["detail"]
    assert str(data_dir) not in str(checks)
    assert health(client)[0] == 500


def test_service_with_an_older_index_is_ready_but_not_healthy(data_dir: Path, open_app: Callable[..., AnnApp]) -> None:
    app = open_app()
    client = Client(app)
    (data_dir / "efficientnet-b0" / "index.txt").write_text("1\n")
    wait_until(lambda: app.parts.catalog.status()[0].error is not None)
    assert_queries_are_answered(client)
    status, checks = readiness(client)
    assert status == 200
    assert "40 logos of original pair answer, though" in checks["index"]["detail"]
    status, results = health(client)
    assert status == 500
    assert [name for name, (passed, _) in results.items() if not passed] == ["newest index"]


def test_service_without_its_store_is_not_ready(data_dir: Path, client: Client) -> None:
    (data_dir / "efficientnet-b0.hdf5").rename(data_dir / "elsewhere.hdf5")
    status, checks = readiness(client)
    assert status == 503
    assert checks["store"] == {"ok": False, "detail": "efficientnet-b0.hdf5 cannot be found: No such file or directory"}
    (data_dir / "elsewhere.hdf5").rename(data_dir / "efficientnet-b0.hdf5")
    assert readiness(client)[0] == 200


@pytest.mark.parametrize("content", [b"", b"no store at all" * 1000])
def test_service_whose_store_was_replaced_by_another_file_is_not_ready(
    data_dir: Path, client: Client, content: bytes
) -> None:
    (data_dir / "other").write_bytes(content)
    (data_dir / "other").replace(data_dir / "efficientnet-b0.hdf5")
    status, checks = readiness(client)
    assert status == 503
    assert not checks["store"]["ok"]
    assert str(data_dir) not in str(checks)
    assert client.simulate_get(f"/api/v1/ann/{STORED_ONLY[0]}").status_code == 503


def test_service_whose_store_was_replaced_by_one_of_the_original_is_not_ready(data_dir: Path, client: Client) -> None:
    write_store(data_dir / "other", LOGO_IDS, VECTORS)
    (data_dir / "other").replace(data_dir / "efficientnet-b0.hdf5")
    assert readiness(client)[0] == 503


def test_full_store_is_ready_but_not_healthy(tmp_path: Path, open_app: Callable[..., AnnApp]) -> None:
    app = open_app(data_dir=tmp_path / "small", store_capacity=2)
    app.parts.store.append([3, 4], VECTORS[:2])
    client = Client(app)
    status, checks = readiness(client)
    assert status == 200
    assert "adds fail: all 2 rows are taken" in checks["store"]["detail"]
    status, results = health(client)
    assert status == 500
    assert [name for name, (passed, _) in results.items() if not passed] == ["adds"]


def test_full_disk_is_ready_but_not_healthy(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def nearly_full(path: Path) -> os.statvfs_result:
        fields = list(real(path))
        fields[4] = 10  # f_bavail, in blocks
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    assert "bytes left" in readiness(client)[1]["store"]["detail"]
    assert (readiness(client)[0], health(client)[0]) == (200, 500)


def test_failed_sync_is_ready_but_not_healthy(open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    app = open_app()
    client = Client(app)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StoreUnavailableError):
        app.parts.store.append([900], VECTORS[:1])
    monkeypatch.undo()
    assert_queries_are_answered(client)
    status, results = health(client)
    assert (readiness(client)[0], status) == (200, 500)
    assert [name for name, (passed, _) in results.items() if not passed] == ["adds"]


def test_service_whose_weights_cannot_be_loaded_is_not_ready(
    tmp_path: Path, open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app()
    client = Client(app)
    weights = tmp_path / "weights.tflite"
    model = app.parts.embedder._model
    weights.write_bytes(model.path.read_bytes())
    monkeypatch.setattr(app.parts.embedder, "_model", type(model)(weights, model.description))
    assert readiness(client)[0] == 200
    weights.write_bytes(b"damaged")
    status, checks = readiness(client)
    assert status == 503
    assert (
        checks["model"]["detail"]
        == "the weights weights.tflite are damaged: their digest is not the one in their description"
    )
    weights.unlink()
    assert "weights.tflite cannot be read" in readiness(client)[1]["model"]["detail"]
    monkeypatch.setattr(app.parts.embedder, "_network", lambda pixels: pixels)  # a loaded model needs no file
    assert readiness(client)[0] == 200


def test_weights_are_checked_once_and_not_loaded(
    open_app: Callable[..., AnnApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app()
    client = Client(app)
    readiness(client)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read again"))
    assert readiness(client)[0] == 200
    assert not app.parts.embedder.loaded


def test_damage_of_another_index_does_not_matter(data_dir: Path, open_app: Callable[..., AnnApp]) -> None:
    write_pair(data_dir / "other", INDEXED, VECTORS[:40])
    (data_dir / "other" / "index.txt").write_text("1\n")
    assert health(Client(open_app()))[0] == 200


def test_store_that_is_rewritten_during_the_check_stays_ready(data_dir: Path, open_app: Callable[..., AnnApp]) -> None:
    client = Client(open_app())
    rewrites = threading.Thread(
        target=lambda: [rewrite_store(data_dir / "efficientnet-b0.hdf5", capacity=300 + k) for k in range(10)]
    )
    rewrites.start()
    while rewrites.is_alive():
        assert readiness(client)[0] == 200
    assert readiness(client)[1]["store"]["detail"] == "60 logos, room for 249 more"
