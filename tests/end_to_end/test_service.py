"""The service as its users see it: real gunicorn, real processes, real signals."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.end_to_end.service import ROOT, Service, environment, manage
from tests.original_files import random_vectors, write_pair, write_store
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE, wait_until


def test_add_rebuild_and_query_without_restart(tmp_path: Path, photos: PhotoServer) -> None:
    with Service(tmp_path / "data", workers=2) as service:
        for k in range(20):
            assert service.add(photos.url(f"/{k}.jpg"), 100 + k).json() == {"added": 1}
        assert service.get("/100").json() == {"results": [], "count": 0}
        built = manage(tmp_path / "data", "generate-index", "--tree-count", "5")
        assert built.returncode == 0, built.stderr
        for _ in range(8):  # both workers load the new index
            wait_until(lambda: service.get("/100").json()["count"] == 20)
        first = service.get("/100?count=3").json()["results"][0]
        assert first == {"distance": 0.0, "logo_id": 100}
        assert service.add(photos.url("/3.jpg"), 120).json() == {"added": 1}
        assert manage(tmp_path / "data", "generate-index", "--tree-count", "5").returncode == 0
        wait_until(lambda: all(service.get("/120").json()["count"] == 21 for _ in range(8)))


def test_files_of_the_original_are_served_and_appended_to(tmp_path: Path, photos: PhotoServer) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    vectors = random_vectors(50)
    write_store(data_dir / "efficientnet-b0.hdf5", list(range(1, 51)), vectors)
    write_pair(data_dir / "efficientnet-b0", list(range(1, 41)), vectors[:40])
    with Service(data_dir, workers=2) as service:
        assert service.get("/count").json() == {"count": 50}
        assert service.get("/1?count=2").json()["results"][0] == {"distance": 0.0, "logo_id": 1}
        assert service.get("/45?count=2").json()["count"] == 2
        assert service.add(photos.url("/1.jpg"), 900).json() == {"added": 1}
        assert service.get("/stored").json()["stored"] == [*range(1, 51), 900]
        assert "migrated" in service.log
    assert (data_dir / "efficientnet-b0.original.hdf5").is_file()


def test_two_workers_find_each_others_logos_at_once(tmp_path: Path, photos: PhotoServer) -> None:
    with Service(tmp_path / "data", workers=2) as service, concurrent.futures.ThreadPoolExecutor(8) as pool:

        def add_and_ask(logo_id: int) -> bool:
            added = service.add(photos.url(f"/{logo_id % 20}.jpg"), logo_id).json()["added"]
            found = str(logo_id) in service.get(f"/batch?logo_ids={logo_id}").json()["results"]
            return bool(added == 1 and found)

        assert all(pool.map(add_and_ask, range(1, 61)))
        assert sorted(service.get("/stored").json()["stored"]) == list(range(1, 61))


def test_acknowledged_logos_survive_sigkill(tmp_path: Path, photos: PhotoServer) -> None:
    service = Service(tmp_path / "data", workers=2)
    acknowledged: set[int] = set()
    numbers = itertools.count(1)
    dice = random.Random(3)

    def add_until_it_dies() -> None:
        try:
            while True:
                logo_id = next(numbers)
                if service.add(photos.url(f"/{logo_id % 20}.jpg"), logo_id).json()["added"] == 1:
                    acknowledged.add(logo_id)
        except requests.RequestException:
            pass

    def more_than(count: int) -> Callable[[], bool]:
        return lambda: len(acknowledged) > count

    for _ in range(4):
        service.start()
        threads = [threading.Thread(target=add_until_it_dies) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(more_than(len(acknowledged) + dice.randint(3, 12)))
        service.kill()
        for thread in threads:
            thread.join()
    with service:
        stored = service.get("/stored").json()["stored"]
        assert len(stored) == len(set(stored))
        assert acknowledged <= set(stored)
        assert all(service.get(f"/batch?logo_ids={logo_id}").json()["count"] == 1 for logo_id in stored[-20:])
        assert service.add(photos.url("/1.jpg"), 10**6).json() == {"added": 1}
    assert manage(tmp_path / "data", "verify").returncode == 0


def test_shutdown_lets_a_running_request_finish(tmp_path: Path, photos: PhotoServer) -> None:
    with Service(tmp_path / "data") as service, concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(service.add, photos.url("/slow"), 7)
        wait_until(lambda: photos.requests == 1)
        stop = pool.submit(service.terminate)
        photos.release.set()
        assert slow.result().json() == {"added": 1}
        assert stop.result() == 0


def test_broken_generation_leaves_the_old_one_serving(tmp_path: Path, photos: PhotoServer) -> None:
    data_dir = tmp_path / "data"
    with Service(data_dir) as service:
        for k in range(6):
            service.add(photos.url(f"/{k}.jpg"), 1 + k)
        assert manage(data_dir, "generate-index", "--tree-count", "3").returncode == 0
        wait_until(lambda: service.get("/1").json()["count"] == 6)
        service.add(photos.url("/9.jpg"), 50)
        assert manage(data_dir, "generate-index", "--tree-count", "3", ANN_RELOAD_SECONDS="60").returncode == 0
        wait_until(lambda: service.get("/50").json()["count"] == 7)
        index_dir = data_dir / "efficientnet-b0"
        broken = index_dir / "generations" / "99991231T000000.000000Z"
        broken.mkdir()
        for name in ("index.txt", "index.json"):
            (broken / name).write_bytes((index_dir / "current" / name).read_bytes())
        whole = (index_dir / "current" / "index.bin").read_bytes()
        (broken / "index.bin").write_bytes(whole[: len(whole) // 2])
        (index_dir / "next").symlink_to(broken.relative_to(index_dir))
        (index_dir / "next").replace(index_dir / "current")
        wait_until(lambda: broken.name in service.log)
        assert service.get("/50").json()["count"] == 7
        assert manage(data_dir, "verify").returncode == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ANN_THREADS", "many"), ("ANN_IMAGE_MAX_BYTES", "-1"), ("ANN_WEIGHTS", "/nowhere.h5")],
)
def test_wrong_setting_stops_the_start_with_one_line(tmp_path: Path, variable: str, value: str) -> None:
    stopped = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "gunicorn_conf.py"],
        cwd=ROOT,
        env={**environment(tmp_path), "ANN_BIND": "127.0.0.1:0", variable: value},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert stopped.returncode != 0
    assert "Traceback" not in stopped.stderr
    assert value in stopped.stderr.splitlines()[-1]


def test_long_lists_of_ids_are_accepted(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        ids = ",".join(str(10**9 + k) for k in range(600))
        assert service.get(f"/batch?logo_ids={ids}").json() == {"results": {}, "count": 0}


def test_docker_health_check_passes_as_long_as_queries_succeed(tmp_path: Path) -> None:
    found = re.search(r"^HEALTHCHECK .*\n *CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    with Service(tmp_path / "data") as service:
        _, *arguments = json.loads(found[1].replace("5501", str(service.port)))
        proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}

        def check() -> subprocess.CompletedProcess[str]:
            command = [sys.executable, *arguments]
            return subprocess.run(
                command, env={**os.environ, **proxy}, capture_output=True, text=True, timeout=PATIENCE, check=False
            )

        well = check()
        assert (well.returncode, json.loads(well.stdout)["status"]) == (0, "ready"), well.stderr
        (tmp_path / "data" / "efficientnet-b0.hdf5").unlink()
        ill = check()
        assert (ill.returncode, json.loads(ill.stdout)["status"]) == (1, "not ready"), ill.stderr
    assert check().returncode == 1
