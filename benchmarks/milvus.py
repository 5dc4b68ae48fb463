"""`python -m benchmarks.milvus`: the service with Milvus beside the service with Annoy, on the same store, in one run.

A store is drawn once. `generate-index` builds an index with each engine; then both services get the same requests in
turns. Finally Milvus' index is built again while two clients continue, and count failures and short results. Milvus
must be running already, at ANN_MILVUS_URI, and should be empty. The result is a line of docs/benchmarks/milvus.jsonl.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median, quantiles

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_store import drawn_store, say
from benchmarks.http_client import HttpClient, neighbours_request
from benchmarks.results import RESULTS, Record, append
from benchmarks.table import machine
from settings import Settings
from tests.end_to_end.service import ROOT, Service, environment

COUNT = 100
ROOM = 10_000
ROUNDS = 10
QUERIES_A_ROUND = 60
BATCH = 20
SECONDS_TO_GO_OVER = 10.0  # for services to switch; they check every 5 s
ENGINES = ("annoy", "milvus")


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="6 GB at 200,000.")
@click.option("--logos", type=click.IntRange(1000), default=200_000, show_default=True)
@click.option("--kind", default="auto", show_default=True, help="Milvus' index type; see ANN_MILVUS_INDEX.")
@click.option("--seed", default=1, show_default=True, help="Determines the logos.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "milvus.jsonl")
def main(folder: Path, logos: int, kind: str, seed: int, output: Path) -> None:
    """Measure both on a store in FOLDER; draw the store if there is none."""
    uri = os.environ.get("ANN_MILVUS_URI", Settings().milvus.uri)
    milvus = {"ANN_ENGINE": "milvus", "ANN_MILVUS_URI": uri, "ANN_MILVUS_INDEX": kind}
    of_engine: dict[str, dict[str, str]] = {"annoy": {}, "milvus": milvus}
    logo_ids = drawn_store(folder, logos, room=ROOM, seed=seed)
    record: Record = {"machine": machine(), "logos": logos, "kind": kind}
    for name, options in of_engine.items():
        say(f"generate-index with {name}")
        started = time.monotonic()
        _build(folder, "--fresh", **options).check_returncode()
        record[f"{name}: build, s"] = round(time.monotonic() - started, 1)
    slow_looks = {"ANN_STORE_CAPACITY": str(logos + ROOM), "ANN_RELOAD_SECONDS": "5"}
    with (
        Service(folder, workers=2, **slow_looks) as annoy,
        Service(folder, workers=2, **slow_looks, **of_engine["milvus"]) as other,
    ):
        services = {"annoy": annoy, "milvus": other}
        for name, service in services.items():
            record[f"{name}: recall@10"] = service.get("/status").json()["recall"]["at_10"]
        record |= _in_turns(services, logo_ids)
        say("building again in Milvus, with queries going on")
        record |= _rebuild(other, folder, logo_ids, of_engine["milvus"])
    append(output, [record])
    for what, value in record.items():
        click.echo(f"{what}: {value}")


def _build(folder: Path, *arguments: str, **options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "manage.py", "generate-index", *arguments],
        cwd=ROOT,
        env=environment(folder, ANN_MAP_POINTS="0", **options),
        check=False,
    )


def _in_turns(services: dict[str, Service], logo_ids: NDArray[np.int64]) -> Record:
    """Send both the same requests, one round each in turns."""
    rng = np.random.default_rng(2)
    asked = {"": neighbours_request, "batch of 20": _batch_request}
    figures: dict[str, list[float]] = {}
    for what, request in asked.items():
        for turn in range(ROUNDS):
            some = rng.choice(logo_ids, QUERIES_A_ROUND if not what else QUERIES_A_ROUND // 6)
            for name in ENGINES if turn % 2 else ENGINES[::-1]:
                with HttpClient(services[name].port) as client:
                    for logo_id in some.tolist():
                        started = time.perf_counter()
                        client.ask(request(logo_id, COUNT))
                        label = f"{name}: {what}".strip(": ")
                        figures.setdefault(label, []).append(1000 * (time.perf_counter() - started))
    record: Record = {}
    for label, milliseconds in figures.items():
        shares = quantiles(milliseconds, n=20)
        record |= {f"{label}: p50, ms": round(shares[9], 2), f"{label}: p95, ms": round(shares[18], 2)}
    record["Milvus / Annoy, p50"] = round(median(figures["milvus"]) / median(figures["annoy"]), 2)
    record["Milvus / Annoy, batch, p50"] = round(
        median(figures["milvus: batch of 20"]) / median(figures["annoy: batch of 20"]), 2
    )
    return record


def _batch_request(logo_id: int, count: int) -> bytes:
    ids = ",".join(str(logo_id + 7 * more) for more in range(BATCH))  # drawn ids are 7 apart
    return f"GET /api/v1/ann/batch?logo_ids={ids}&count={count} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _rebuild(service: Service, folder: Path, logo_ids: NDArray[np.int64], options: dict[str, str]) -> Record:
    """Build Milvus' index again while two clients send queries."""
    stopping = threading.Event()
    milliseconds: list[float] = []
    failed, short = [], []

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stopping.is_set():
            try:
                with HttpClient(service.port) as client:
                    for logo_id in rng.choice(logo_ids, 50).tolist():
                        started = time.perf_counter()
                        body = json.loads(client.ask(neighbours_request(logo_id, COUNT)))
                        milliseconds.append(1000 * (time.perf_counter() - started))
                        if body["count"] != COUNT or body["results"][0]["logo_id"] != logo_id:
                            short.append(logo_id)
            except OSError as error:
                failed.append(str(error)[:200])

    clients = [threading.Thread(target=ask, args=(seed,)) for seed in (3, 4)]
    for client in clients:
        client.start()
    started = time.monotonic()
    built = _build(folder, **options)
    seconds = time.monotonic() - started
    time.sleep(SECONDS_TO_GO_OVER)
    stopping.set()
    for client in clients:
        client.join()
    built.check_returncode()
    shares = quantiles(milliseconds, n=100)
    for error in failed[:5]:
        click.echo(error, err=True)
    return {
        "rebuild with queries, s": round(seconds, 1),
        "queries meanwhile": len(milliseconds),
        "of these failed": len(failed),
        "of these short": len(short),
        "meanwhile: p50, ms": round(shares[49], 2),
        "meanwhile: p95, ms": round(shares[94], 2),
        "meanwhile: p99, ms": round(shares[98], 2),
    }


if __name__ == "__main__":
    main()
