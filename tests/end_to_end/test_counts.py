"""The counts of several workers in `/metrics` equal those of their clients, even after a worker was killed."""

from __future__ import annotations

import collections
import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import requests

from tests.end_to_end.service import ROOT, Service, environment, manage
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE, wait_until

Counts = collections.Counter[tuple[str, str, int]]
A = "/api/v1/ann"
CLIENTS, ROUNDS = 4, 6


def told(service: Service) -> Counts:
    """Return the counted requests, except those for the metrics themselves."""
    text = requests.get(f"http://127.0.0.1:{service.port}/metrics", timeout=PATIENCE).text
    pattern = r'^robotoff_ann_requests_total\{method="(\w+)",route="(.*)",status="(\d+)"\} (\S+)$'
    found = re.findall(pattern, text, re.MULTILINE)
    counts = {(method, route, int(status)): int(float(count)) for method, route, status, count in found}
    return Counts({key: count for key, count in counts.items() if key[1] != "/metrics"})


def workers(service: Service) -> set[int]:
    pid = service.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def load(service: Service, photos: PhotoServer, client: int) -> Counts:
    """Send valid and invalid requests, and count the answers."""
    counts = Counts()

    def ask(method: str, route: str, path: str, expected: int, **arguments: object) -> None:
        answer = requests.request(method, f"http://127.0.0.1:{service.port}{path}", timeout=PATIENCE, **arguments)  # type: ignore[arg-type]
        assert answer.status_code == expected, answer.text
        assert answer.headers["X-Request-ID"]
        counts[method, route, answer.status_code] += 1

    for number in range(ROUNDS):
        logo_id = 1000 * client + number + 1
        logos = [{"id": logo_id, "bounding_box": [0.1, 0.1, 0.9, 0.9]}]
        ask("POST", f"{A}/add", f"{A}/add", 200, json={"image_url": photos.url("/1.jpg"), "logos": logos})
        ask("GET", A + "/{logo_id}", f"{A}/{logo_id}?count=3", 200)
        ask("GET", A + "/{logo_id}", f"{A}/{10**9 + number}", 404)
        ask("GET", A, f"{A}?count=0", 400)
        ask("GET", "unmatched", f"/{client}/{number}", 404)
        ask("PUT", f"{A}/count", f"{A}/count", 405)
        counts["GET", "unmatched", 408] += send(service, b"GET /late HTTP/1.1\r\nHost: x\r\n", 408)
        counts["other", "unmatched", 400] += send(service, b"GET / HTTP/9\r\n\r\n", 400)
        counts["GET", "unmatched", 431] += send(service, b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431)
    return counts


def send(service: Service, sent: bytes, expected: int) -> int:
    with socket.create_connection(("127.0.0.1", service.port), 20) as client:
        client.sendall(sent)
        answer = b""
        while part := client.recv(2**16):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % expected)
    assert re.search(rb"\r\nX-Request-ID: [0-9a-f]{16}(\r\n|$)", head)
    assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head
    assert set(json.loads(body)) == {"title", "description"}
    return 1


def test_counts_are_those_of_the_clients(tmp_path: Path, photos: PhotoServer) -> None:
    def load_from(first: int) -> Counts:
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [pool.submit(load, service, photos, first + client) for client in range(CLIENTS)]
            return sum((job.result() for job in jobs), Counts())

    with Service(tmp_path / "data", workers=2, ANN_RECEIVE_SECONDS="0.3") as service:
        started = told(service)
        expected = load_from(0)
        assert sum(expected.values()) == 9 * CLIENTS * ROUNDS
        assert told(service) - started == expected

        killed = max(workers(service))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(workers(service) - {killed}) == 2)
        assert told(service) - started == expected
        expected += load_from(CLIENTS)
        assert told(service) - started == expected


def test_queries_are_answered_by_workers_that_cannot_count(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        descriptors = Path(f"/proc/{service.process.pid}/fd").iterdir()
        [directory] = [found for fd in descriptors if "robotoff-ann-metrics-" in str(found := fd.readlink())]
        shutil.rmtree(directory)
        directory.write_bytes(b"")  # prevents a new directory
        os.kill(service.worker_pid, signal.SIGKILL)
        wait_until(lambda: "/metrics lacks the counts" in service.log)
        assert service.get("/count").json() == {"count": 0}
        assert told(service)["GET", f"{A}/count", 200] == 1
        directory.unlink()
        os.kill(service.worker_pid, signal.SIGKILL)
        wait_until(lambda: service.log.count("Booting worker") == 3)
        assert service.get("/count").json() == {"count": 0}
        assert told(service)["GET", f"{A}/count", 200] == 1
        assert directory.is_dir()
        assert service.terminate() == 0
        assert not directory.exists()


def test_every_line_of_the_json_log_is_an_object(tmp_path: Path, photos: PhotoServer) -> None:
    with Service(tmp_path / "data", workers=2, ANN_LOG_FORMAT="json") as service:
        assert service.add(photos.url("/1.jpg"), 1).json() == {"added": 1}
        send(service, b"GET / HTTP/9\r\n\r\n", 400)
        built = manage(tmp_path / "data", "generate-index", ANN_LOG_FORMAT="json")
        assert built.returncode == 0
        assert "published" in " ".join(json.loads(line)["message"] for line in built.stderr.splitlines())
        wait_until(lambda: service.log.count("logos from") == 2)
        os.kill(service.worker_pid, signal.SIGKILL)
        wait_until(lambda: service.log.count("Booting worker") == 3)
        service.terminate()
        lines = [json.loads(line) for line in service.log.splitlines()]
        messages = " ".join(line["message"] for line in lines)
        assert {"gunicorn.error", "access", "index.watched_index", "embeddings.model.embedder"} <= {
            line["logger"] for line in lines
        }
        assert all({"time", "level", "logger", "message", "process"} <= set(line) for line in lines)
        assert "Starting gunicorn" in messages
        assert "Shutting down" in messages


def test_errors_that_stop_a_command_or_the_start_are_objects_of_the_json_log(tmp_path: Path) -> None:
    refused = manage(tmp_path, "verify", ANN_LOG_FORMAT="json")
    assert refused.returncode == 1
    [line] = map(json.loads, refused.stderr.splitlines())
    assert line["level"] == "ERROR"
    assert line["message"].startswith("there is no store at")

    (tmp_path / "efficientnet-b0.hdf5").write_bytes(b"no store")
    stopped = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "gunicorn_conf.py"],
        cwd=ROOT,
        env=environment(tmp_path, ANN_BIND="127.0.0.1:0", ANN_LOG_FORMAT="json"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert stopped.returncode == 1
    *_, last = map(json.loads, stopped.stderr.splitlines())
    assert (last["level"], "efficientnet-b0.hdf5" in last["message"]) == ("CRITICAL", True)
