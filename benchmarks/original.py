"""The service beside the original's way of serving, `benchmarks.original_service`, on the same logos and index files.

Two clients use both at once, except for adds, which follow each other. The original's one worker closes every
connection after its answer; ours keeps them for some queries.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.fixture import COUNT, RELOAD, ROOM_FOR_ADDS, Fixture, IndexedLogos, settle
from benchmarks.http_client import HttpClient, ask_in_turn, neighbours_request
from benchmarks.logos import SMALLEST_ID, draw_logos
from benchmarks.original_service import FOLDER_VARIABLE, INDEX, KEYS, STORE, create_store
from benchmarks.table import Ratio, Row, interleaved
from embeddings.store.store import EmbeddingStore
from settings import Settings
from tests.end_to_end.service import BOX, ROOT, Service, environment, free_port
from tests.photo_server import PhotoServer

TREES = 10
CLIENTS = 2
QUERIES = 400  # different ones, a client
QUERIES_A_CONNECTION = 50
STORED_ONLY = 200
BATCH = 20
ADDS = 8  # a repetition
START_SECONDS = 60.0
REACH = {"indexed": 2.0, "stored": 10.0, "batch": 3.0, "batch by default": 3.0, "add": 5.0}
SAME_FILES = "original"  # the name of the index that consists of the original's very files


@dataclass(frozen=True, slots=True)
class _Rival:
    """A server, and the number of queries on one connection."""

    port: int
    queries_a_connection: int


def measure(fixture: Fixture, *, adds: bool = True) -> list[Row]:
    """Measure answers a second; adds, which need TensorFlow, only if wanted."""
    scale = replace(fixture.scale, logos=fixture.scale.stored_logos, trees=TREES)
    own = Fixture(scale, fixture.scratch / "beside-original", fixture.say)
    indexed = own.stored
    original, stored_only = _prepare(own, indexed)
    rng = np.random.default_rng(scale.seed)
    logo_ids = rng.choice(indexed.logo_ids, QUERIES)
    batches = [rng.choice(indexed.logo_ids, BATCH) for _ in range(QUERIES // 4)]
    with (
        Service(indexed.data_dir, workers=2, **RELOAD) as service,
        _serve_original(original) as port,
        PhotoServer() as photos,
        ProcessPoolExecutor(CLIENTS, multiprocessing.get_context("spawn")) as clients,
    ):
        list(clients.map(time.sleep, [1] * CLIENTS))
        servers = (_Rival(service.port, QUERIES_A_CONNECTION), _Rival(port, 1))
        about = f"of {scale.logos:,} logos, {TREES} trees"
        what_batch = f"`GET /ann/batch` of {BATCH} logos"
        rows = []
        for kind, what, requests in (
            (
                "indexed",
                f"`GET /ann/{{id}}?count={COUNT}` {about}",
                [neighbours_request(int(i), COUNT, SAME_FILES) for i in logo_ids],
            ),
            (
                "stored",
                f"the same for stored logos that are not indexed, {about}",
                [neighbours_request(int(i), COUNT, SAME_FILES) for i in stored_only],
            ),
            ("batch", f"{what_batch}, {about}", [_batch_request(ids.tolist(), SAME_FILES) for ids in batches]),
            (
                "batch by default",
                f"{what_batch}, {about}; ours the index that is built by default, which finds more of them",
                [_batch_request(ids.tolist()) for ids in batches],
            ),
        ):
            fixture.say(f"original: {kind}")
            asked = [partial(_rate, clients, server, requests, scale.seconds) for server in servers]
            for warm_up in asked:
                warm_up()
            rows.append(_row(kind, what, *interleaved(scale.repetitions, *asked)))
        if adds:
            fixture.say("original: add")
            free_ids = itertools.count(1)
            url = photos.url("/1.jpg")
            added = [partial(_add_rate, server, url, free_ids) for server in servers]
            for warm_up in added:
                warm_up()
            rows.append(
                _row("add", "`POST /ann/add` of one logo, one after the other", *interleaved(scale.repetitions, *added))
            )
    return rows


def _row(kind: str, what: str, ours: list[float], original: list[float]) -> Row:
    ratio = Ratio.of(ours, original)
    rival = f"{median(original):,.1f}/s, the original's way of serving, one worker"
    return Row(what, f"{median(ours):,.1f}/s", rival, ratio, f"{REACH[kind]:g} ×", ratio.median >= REACH[kind])


def _prepare(fixture: Fixture, indexed: IndexedLogos) -> tuple[Path, list[int]]:
    """Create the same files in the original's layout, and store logos in both that neither has indexed."""
    fixture.say("original: the same logos in its layout")
    folder = fixture.scratch / "original"
    for arguments in ((str(folder), "--tree-count", str(TREES)), ("--compare", "0")):
        subprocess.run(
            [sys.executable, "manage.py", "generate-index", *arguments],
            cwd=ROOT,
            env=environment(indexed.data_dir, ANN_MAP_POINTS="0"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    served = indexed.data_dir / SAME_FILES
    served.mkdir()
    for name in (INDEX, KEYS):  # the service uses the very same files, which record no recall
        (served / name).hardlink_to(folder / name)
    count = fixture.scale.logos
    highest = int(indexed.logo_ids.max())
    with EmbeddingStore(Settings(data_dir=indexed.data_dir).store_path) as store:
        ((_, more),) = draw_logos(STORED_ONLY, fixture.scale.seed + 1, block=STORED_ONLY)
        stored_only = np.arange(highest + 1, highest + 1 + STORED_ONLY)
        store.append(stored_only, more)
        start = 0
        with create_store(folder / STORE, count + STORED_ONLY + ROOM_FOR_ADDS) as file:
            for logo_ids, vectors in store.snapshot().blocks():
                file["external_id"][start : start + len(logo_ids)] = logo_ids
                file["embedding"][start : start + len(logo_ids)] = vectors
                start += len(logo_ids)
    settle()
    return folder, stored_only.tolist()


@contextlib.contextmanager
def _serve_original(folder: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "--bind",
            f"127.0.0.1:{port}",
            "--timeout",
            "300",
            "--log-level",
            "error",
            "benchmarks.original_service:create_app()",
        ],
        cwd=ROOT,
        env=os.environ | {FOLDER_VARIABLE: str(folder)},
        start_new_session=True,
    )
    try:
        HttpClient(port, START_SECONDS).__exit__()
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _rate(clients: Executor, server: _Rival, requests: Sequence[bytes], seconds: float) -> float:
    start = time.monotonic() + 0.1  # both processes have their requests by then
    shares = [requests[client::CLIENTS] for client in range(CLIENTS)]
    asked = [
        clients.submit(ask_in_turn, server.port, share, server.queries_a_connection, start, seconds) for share in shares
    ]
    return max(1, sum(client.result() for client in asked)) / seconds


def _add_rate(server: _Rival, image_url: str, free_ids: Iterator[int]) -> float:
    started = time.perf_counter()
    for logo_id in itertools.islice(free_ids, ADDS):
        assert logo_id < SMALLEST_ID
        with HttpClient(server.port, START_SECONDS) as client:
            assert json.loads(client.ask(_add_request(image_url, logo_id))) == {"added": 1}
    return ADDS / (time.perf_counter() - started)


def _batch_request(logo_ids: Sequence[int], index: str | None = None) -> bytes:
    asked = ",".join(map(str, logo_ids))
    named = "" if index is None else f"&index={index}"
    path = f"/api/v1/ann/batch?logo_ids={asked}&count={COUNT}{named}"
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _add_request(image_url: str, logo_id: int) -> bytes:
    body = json.dumps({"image_url": image_url, "logos": [{"id": logo_id, "bounding_box": BOX}]}).encode()
    head = (
        f"POST /api/v1/ann/add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
