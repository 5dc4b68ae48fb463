"""`python -m benchmarks.rivals.in_turns`: the fastest engines on the same vectors, in one process, in turns.

Only the processor time of the querying thread counts, so that other work on the machine disturbs less, and the engines
alike. Each round asks one engine after the other all queries. `python -m benchmarks.page` makes a table of the results.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import click
import numpy as np

from benchmarks.results import RESULTS, Record, append
from benchmarks.rivals.engine import Engine
from benchmarks.rivals.measurement import hold_to_one_core
from benchmarks.rivals.registry import ENGINES
from benchmarks.rivals.vectors import VectorFiles, count_found
from benchmarks.table import machine

COUNT = 100
FAST = ("service", "faiss-hnsw", "hnswlib", "usearch")
LEAST_EFFORT = 64  # of a graph; with less, none finds enough


@click.command()
@click.option("--logos", type=click.IntRange(1000), default=20_000, show_default=True)
@click.option("--engine", "engines", multiple=True, type=click.Choice(FAST), help="May be repeated.  [default: all]")
@click.option("--queries", type=click.IntRange(1), default=200, show_default=True)
@click.option("--rounds", type=click.IntRange(2), default=5, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Determines vectors and queries.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=RESULTS / "in_turns.jsonl")
def main(logos: int, engines: tuple[str, ...], queries: int, rounds: int, seed: int, output: Path) -> None:
    """Measure engines in turns. Files go to a temporary directory: TMPDIR should be on a disk."""
    with tempfile.TemporaryDirectory(prefix="robotoff-ann-in-turns-") as scratch:
        files = VectorFiles.draw(Path(scratch), logos, queries, seed)
        built = {}
        for name in engines or FAST:
            click.echo(f"building {name}", err=True)
            folder = files.folder / name
            folder.mkdir()
            built[name] = ENGINES[name]()
            built[name].fit(files.vectors, folder)
        append(output, measure(built, files, rounds))


def measure(engines: dict[str, Engine], files: VectorFiles, rounds: int) -> list[Record]:
    """Return a record for each effort of each built engine."""
    about = {"logos": len(files.vectors), "machine": machine()}  # of all its cores
    hold_to_one_core()
    records: list[Record] = []
    for name, engine in engines.items():
        for effort in engine.efforts:
            if effort is None or name == "service" or effort >= LEAST_EFFORT:
                said = f"{engine.effort} {'default' if effort is None else effort}"
                records.append({"engine": name, "title": engine.title, "effort": said, "set": effort, "ms": []})
    for turn in range(rounds):
        for record in records:
            engine = engines[record["engine"]]
            engine.set_effort(record["set"], COUNT)
            found, times = _ask(engine, files, count=turn == 0)
            if turn == 0:
                record["recall"] = round(found, 4)
            record["ms"].append(round(1000 * median(times), 3))
    for record in records:
        del record["set"]
    for engine in engines.values():
        engine.close()
    return [about | record for record in records]


def _ask(engine: Engine, files: VectorFiles, *, count: bool) -> tuple[float, list[float]]:
    """Return the recall, if it is to be counted, and the seconds of each query."""
    vectors, truth = np.array(files.vectors[files.queries]), files.truth[:, :COUNT]
    engine.query(vectors[0], COUNT)
    times, found = [], 0
    for vector, true in zip(vectors, truth, strict=True):
        began = time.process_time()
        answer = engine.query(vector, COUNT)
        times.append(time.process_time() - began)
        found += count_found(files.vectors, vector, answer[:COUNT], true) if count else 0
    return found / truth.size, times


if __name__ == "__main__":
    main()
