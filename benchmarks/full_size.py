"""`python -m benchmarks.full_size`: the service at the size at which Robotoff moved to Elasticsearch.

A store is drawn once. Then the index is built from nothing, and again using what the first build kept. A service of two
workers is started on it, and one client requests neighbours: while the machine is otherwise idle, right after the page
cache was dropped (as root), and during a build. Recall is measured by the build, on the logos that it chooses the
effort for, and here on others, against exact search. The result is a line of docs/benchmarks/full_size.jsonl.

The figures to compare with were published by Open Food Facts for Elasticsearch on the same number of logos (dense
vectors, HNSW): 80 ms a query, under 5 GB, recall@10 0.953.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_store import drawn_store, say
from benchmarks.http_client import HttpClient, neighbours_request
from benchmarks.results import RESULTS, Record, append
from benchmarks.table import machine
from embeddings.store.store import EmbeddingStore
from index.files.manifest import read_manifest
from index.loading import load_index
from index.recall import Truth, recall_of
from index.threads import in_order
from settings import Settings
from tests.end_to_end.service import ROOT, Service, environment

LOGOS = 4_371_343
ROOM = 10_000
WORKERS = 2
QUERIES = 1000
OTHERS = 400
COLD_QUERIES = 200
BEGIN_SECONDS = 10.0  # until a build reads logos


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="27 GB at full size.")
@click.option("--logos", type=click.IntRange(1000), default=LOGOS, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Determines the logos.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "full_size.jsonl")
def main(folder: Path, logos: int, seed: int, output: Path) -> None:
    """Measure the service on a store in FOLDER; draw the store if there is none."""
    logo_ids = drawn_store(folder, logos, room=ROOM, seed=seed)
    record: Record = {"machine": machine(), "logos": len(logo_ids)}
    for name, arguments in (("from nothing", ("--fresh",)), ("again", ())):
        say(f"generate-index, {name}")
        record[f"build {name}, s"], record[f"build {name}, MB"] = _build(folder, *arguments)
    index_dir = folder / Settings().default_index / "current"
    recall = read_manifest(index_dir).recall
    assert recall is not None
    record |= {"recall@10": recall.at_10, "recall@100": recall.at_100, "search_k": recall.search_k}
    record["index, MB"] = round(sum(path.stat().st_size for path in index_dir.iterdir()) / 1e6)
    say(f"recall of {OTHERS} other logos")
    record |= _recall_of_others(folder, index_dir, logo_ids)
    rng = np.random.default_rng(2)
    with Service(folder, workers=WORKERS, ANN_RELOAD_SECONDS="3600", ANN_STORE_CAPACITY=str(logos + ROOM)) as service:
        if os.geteuid() == 0:
            say("queries, nothing of the store in the page cache")
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("1")
            record |= _latency("cold", service, rng.choice(logo_ids, COLD_QUERIES))
        some = rng.choice(logo_ids, QUERIES)
        _latency("", service, some)
        for count in (100, 10):
            say(f"queries for {count}")
            record |= _latency(f"count={count}", service, some, count)
        record["resident, MB"] = _resident_mb(service.process.pid)
        say("queries during a build")
        with _building(folder, "--fresh") as build:
            time.sleep(BEGIN_SECONDS)
            record |= _latency("during a build", service, rng.choice(logo_ids, 2 * QUERIES))
            if build.poll() is not None:
                click.echo("the build ended before the queries did: that figure is too good", err=True)
    append(output, [record])
    for what, value in record.items():
        click.echo(f"{what}: {value}")


def _build(folder: Path, *arguments: str) -> tuple[float, int]:
    """Return the duration of a build in seconds, and the peak memory of all builds so far, in MB."""
    started = time.monotonic()
    with _building(folder, *arguments) as process:
        assert process.wait() == 0
    return round(time.monotonic() - started, 1), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000


@contextmanager
def _building(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "generate-index", "--compare", "0", *arguments],
        cwd=ROOT,
        env=environment(folder, ANN_MAP_POINTS="0"),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _recall_of_others(folder: Path, index_dir: Path, logo_ids: NDArray[np.int64]) -> Record:
    """Return the recall on logos that chose no parameter of the index."""
    asked = np.random.default_rng(3).choice(logo_ids, OTHERS, replace=False)
    with EmbeddingStore(Settings(data_dir=folder).store_path, writable=False) as store:
        truth = Truth(asked, store.vectors(asked))
        for compared in in_order(lambda block: truth.compared(*block), store.snapshot().blocks(), WORKERS):
            truth.merge(compared)
        index = load_index(index_dir, dim=store.dim, vectors=store.vectors)
        found = recall_of(index, truth.of(index), WORKERS)
    return {f"recall@{count}, others": round(share, 4) for count, share in found.items()}


def _latency(name: str, service: Service, logo_ids: NDArray[np.int64], count: int = 100) -> Record:
    """Return the median and the 95th percentile of the response time, in milliseconds."""
    milliseconds = []
    with HttpClient(service.port) as client:
        for logo_id in logo_ids.tolist():
            started = time.perf_counter()
            client.ask(neighbours_request(logo_id, count))
            milliseconds.append(1000 * (time.perf_counter() - started))
    shares = quantiles(milliseconds, n=20)
    return {f"{name}: p50, ms": round(shares[9], 2), f"{name}: p95, ms": round(shares[18], 2)}


def _resident_mb(master: int) -> int:
    """Return the memory of gunicorn and its workers in MB: the sum of their proportional set sizes, files included."""
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    kilobytes = 0
    for pid in (master, *workers):
        match = re.search(r"^Pss: +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        assert match
        kilobytes += int(match[1])
    return kilobytes * 1024 // 10**6


if __name__ == "__main__":
    main()
