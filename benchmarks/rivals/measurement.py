"""Measure one engine: its build time, its size, its recall, and its speed.

It runs in its own process, `python -m benchmarks.rivals.measurement ENGINE FOLDER SECONDS`, so that its memory can be
measured, and prints a JSON object for each effort and number of neighbours. It builds on all cores. Queries follow each
other on one core, and all threads of the process are limited to it.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.rivals.engine import Engine
from benchmarks.rivals.registry import ENGINES
from benchmarks.rivals.vectors import VectorFiles, count_found

COUNTS = (10, 100)


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine, at one effort, for one number of neighbours.

    Attributes:
        engine: its name on the command line.
        title: its name in tables and plots.
        versions: of its packages.
        effort: its effort, in words.
        count: number of neighbours requested.
        recall: the share of the true nearest `count` that it found, mean of all queries.
        queries_a_second: one after the other, on one core.
        median_ms: of a query.
        build_seconds: from vectors to an index that can be searched, with its files written.
        disk_bytes: of all its files.
        memory_bytes: increase of the process's memory, after the queries, including pages of mapped files.
    """

    engine: str
    title: str
    versions: str
    effort: str
    count: int
    recall: float
    queries_a_second: float
    median_ms: float
    build_seconds: float
    disk_bytes: int
    memory_bytes: int


def measure(name: str, files: VectorFiles, folder: Path, seconds: float) -> Iterator[Measured]:
    """Build an engine in an empty folder, then run all queries with each of its efforts, for `seconds` or longer."""
    engine: Engine = ENGINES[name]()
    before = _held_bytes()
    started = time.perf_counter()
    engine.fit(files.vectors, folder)
    build_seconds = time.perf_counter() - started
    gc.collect()
    try:
        hold_to_one_core()
        for effort in engine.efforts:
            for count in COUNTS:
                engine.set_effort(effort, count)
                recall, times = _ask(engine, files, count, seconds)
                yield Measured(
                    engine=name,
                    title=engine.title,
                    versions=", ".join(f"{package} {version(package)}" for package in engine.packages),
                    effort=f"{engine.effort} {'default' if effort is None else effort}" if engine.effort else "",
                    count=count,
                    recall=round(recall, 4),
                    queries_a_second=round(len(times) / sum(times), 2),
                    median_ms=round(median(times) * 1e3, 3),
                    build_seconds=round(build_seconds, 2),
                    disk_bytes=sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()),
                    memory_bytes=max(0, _held_bytes() - before),
                )
    finally:
        engine.close()


def hold_to_one_core() -> None:
    """Limit all threads of this process, and those that they start, to the same core."""
    core = min(os.sched_getaffinity(0))
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _ask(engine: Engine, files: VectorFiles, count: int, seconds: float) -> tuple[float, list[float]]:
    vectors = np.array(files.vectors[files.queries])
    truth = files.truth[:, :count]
    engine.query(vectors[0], count)
    found, times = 0, list[float]()
    while sum(times) < seconds or len(times) < len(vectors):
        number = len(times) % len(vectors)
        started = time.perf_counter()
        answer = engine.query(vectors[number], count)
        times.append(time.perf_counter() - started)
        if len(times) <= len(vectors):
            found += count_found(files.vectors, vectors[number], answer[:count], truth[number])
    return found / truth.size, times


def _held_bytes() -> int:
    """Return the proportional set size of this process; see proc_pid_smaps(5)."""
    match = re.search(r"^Pss: +(\d+) kB$", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def _main(name: str, folder: str, seconds: str) -> None:
    files = VectorFiles(Path(folder))
    own = files.folder / name
    own.mkdir()
    for measured in measure(name, files, own, float(seconds)):
        sys.stdout.write(json.dumps(asdict(measured)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
