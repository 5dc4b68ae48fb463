"""The real service with many slow, idle and aborting clients, and one that expects a prompt answer."""

from __future__ import annotations

import contextlib
import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embeddings.maintenance.rewrite import prepare_store
from embeddings.model.description import locate_model
from embeddings.store.id_table import WINDOW
from embeddings.store.layout import ModelStamp
from embeddings.store.store_file import StoreFile
from settings import Settings
from tests.end_to_end.faulty_service import start_that_fails
from tests.end_to_end.service import Service
from tests.photo_server import PhotoServer
from tests.waiting import wait_until

CROWD = 50  # of each kind: more than threads, fewer than the descriptors that any machine allows
MANY = 200_000  # logos: /stored is 4 MB, more than the kernel keeps for a client that does not read
HEAD = "GET /api/v1/ann/count HTTP/1.1\r\nHost: x\r\n"
BODY = "POST /api/v1/ann/add HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
KINDS = {
    "idle": "",
    "half a head": HEAD,
    "half a body": BODY,
    "chunks": BODY.replace("Content-Length: 99", "Transfer-Encoding: chunked"),
    "not reading": "GET /api/v1/ann/stored HTTP/1.1\r\nHost: x\r\n\r\n",
    "never closing": f"{HEAD}Connection: close\r\n\r\n",
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Create a data directory with a store of many logos, most of them without vectors."""
    settings = Settings(data_dir=tmp_path / "data")
    model = locate_model(settings.model.name, settings.model.weights, settings.model_dir).description
    stamp = ModelStamp(model.name, model.weights_digest)
    prepare_store(settings.store_path, capacity=MANY + 1000, dim=model.dim, stamp=stamp)
    file = StoreFile(settings.store_path, writable=True)
    ids = 10**18 + np.arange(MANY)
    file.write_ids(0, ids)
    file.write_content(MANY - WINDOW, ids[-WINDOW:], np.zeros((WINDOW, model.dim), np.float32))
    return settings.data_dir


def test_many_slow_clients_delay_no_other_answer(data_dir: Path, photos: PhotoServer) -> None:
    with Service(data_dir, ANN_THREADS="4", ANN_ADD_CONCURRENCY="2") as service, contextlib.ExitStack() as crowd:
        for sent in KINDS.values():
            for _ in range(CROWD if sent != KINDS["not reading"] else 10):
                client = crowd.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
                client.connect(("127.0.0.1", service.port))
                client.sendall(sent.encode())
        for _ in range(20):
            assert service.get("/count").json() == {"count": MANY}
        assert service.add(photos.url("/1.jpg"), 7).json() == {"added": 1}
        assert service.get("/7?count=3").status_code == 200
        stored = service.get("/stored", headers={"X-Request-ID": "all-ids"})
        assert len(stored.json()["stored"]) == MANY + 1
        assert stored.headers["X-Request-ID"] == "all-ids"
        assert f'access [all-ids]: "GET /api/v1/ann/stored" 200 {len(stored.content)} bytes' in service.log
        assert "Traceback" not in service.log


def test_large_image_that_arrives_slowly_is_searched_for(data_dir: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    image = file.getvalue()
    assert len(image) > 2 * Settings().requests.max_body_bytes
    head = f"POST /api/v1/ann/from_image HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(image)}\r\n"
    with Service(data_dir) as service, socket.create_connection(("127.0.0.1", service.port), 20) as client:
        client.sendall(f"{head}Content-Type: image/png\r\n\r\n".encode())
        for start in range(0, len(image), 2**18):
            client.sendall(image[start : start + 2**18])
            assert service.get("/count").json() == {"count": MANY}
        answer = client.makefile("rb").read()
        assert answer.endswith(b'{"results":[],"count":0,"orientation":1}')  # nothing is indexed
        assert "Traceback" not in service.log


def test_settings_set_the_limits(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", ANN_RECEIVE_SECONDS="0.3", ANN_MAX_CONNECTIONS="64", ANN_MAX_BODY_BYTES="98")
    with service, contextlib.ExitStack() as crowd:
        clients = [crowd.enter_context(socket.create_connection(("127.0.0.1", service.port), 20)) for _ in range(100)]
        wait_until(lambda: "64 connections are open, as many as allowed" in service.log)
        clients[-1].sendall(HEAD.encode())
        assert b"within 0.3 s" in clients[-1].recv(1000)
        clients[-2].sendall(BODY.encode())
        assert b"The body has 99 bytes; 98 are allowed." in clients[-2].recv(1000)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY='0': must be a whole number of at least 1"),
        ({"ANN_THREADS": "224"}, "1000 open files are allowed, 1024 are needed: raise `ulimit -n`"),
    ],
)
def test_unusable_configuration_stops_the_start_with_one_line(
    tmp_path: Path, variables: dict[str, str], line: str
) -> None:
    assert start_that_fails("ulimit -n 1000", tmp_path, **variables) == [f"robotoff-ann: {line}"]


def test_few_descriptors_mean_fewer_connections_and_a_warning(tmp_path: Path) -> None:
    lines = start_that_fails("ulimit -n 1000", tmp_path, ANN_WEIGHTS="/nowhere.h5")  # logged before the start fails
    assert any("each worker can hold 872 connections, not the 4096 of ANN_MAX_CONNECTIONS" in line for line in lines)


def test_slow_readers_of_all_ids_cost_little_memory(data_dir: Path) -> None:
    def resident_bytes() -> int:
        pages = int(Path(f"/proc/{service.worker_pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    with Service(data_dir) as service, contextlib.ExitStack() as crowd:
        whole = service.get("/stored").content
        before = resident_bytes()
        clients = []
        for _ in range(CROWD):
            client = crowd.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
            client.connect(("127.0.0.1", service.port))
            client.sendall(b"GET /api/v1/ann/stored HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            clients.append(crowd.enter_context(client.makefile("rb")))
        heads = [client.readline() for client in clients]
        assert heads == [b"HTTP/1.1 200 OK\r\n"] * CROWD
        assert service.get("/stored").content == whole
        assert resident_bytes() - before < CROWD * len(whole) / 2
        assert clients[-1].read().endswith(whole)
