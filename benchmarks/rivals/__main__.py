"""`python -m benchmarks.rivals`: measure the service's index and its rivals on the same vectors.

Each is measured at several efforts. Every figure is appended to a file of results, from which
`python -m benchmarks.page` makes tables and plots.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from benchmarks.results import RESULTS, Record, append
from benchmarks.rivals.registry import ENGINES, missing_packages
from benchmarks.rivals.vectors import VectorFiles
from benchmarks.table import machine

ROOT = Path(__file__).resolve().parents[2]
POWERS_OF_TEN = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)


@click.command()
@click.option(
    "--logos", multiple=True, type=click.IntRange(100), help="Number to draw; may be repeated.  [default: 20000]"
)
@click.option("--up-to", type=click.IntRange(1000), help="Draw 1,000, 10,000 and so on, and finally this number.")
@click.option(
    "--real",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Measure on these embeddings, made by `python -m benchmarks.embedded_logos`.",
)
@click.option(
    "--engine", "engines", multiple=True, type=click.Choice(list(ENGINES)), help="May be repeated.  [default: all]"
)
@click.option("--queries", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seconds", type=click.FloatRange(0), default=2.0, show_default=True, help="Time to measure one rate.")
@click.option("--seed", default=1, show_default=True, help="Determines vectors and queries.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "rivals.jsonl",
    help="The file of results.  [default: docs/benchmarks/rivals.jsonl]",
)
@click.option("--require-all", is_flag=True, help="Fail if an engine is not installed, instead of skipping it.")
def main(
    logos: tuple[int, ...],
    up_to: int | None,
    real: Path | None,
    engines: tuple[str, ...],
    queries: int,
    seconds: float,
    seed: int,
    output: Path,
    require_all: bool,
) -> None:
    """Measure engines on the same vectors. Files go to a temporary directory: TMPDIR should be on a disk."""
    started = time.monotonic()

    def say(what: str) -> None:
        click.echo(f"{time.monotonic() - started:7.1f} s  {what}", err=True)

    if sum((bool(logos), up_to is not None, real is not None)) > 1:
        raise click.UsageError("give one of --logos, --up-to and --real")
    sizes = [*logos] or ([20_000] if up_to is None else [size for size in POWERS_OF_TEN if size < up_to] + [up_to])
    wanted = []
    for name in engines or ENGINES:
        if missing := missing_packages(name):
            message = f"{name} needs {', '.join(missing)}: pip install -r requirements-bench.txt"
            if require_all:
                raise click.ClickException(message)
            say(f"skipped: {message}")
        else:
            wanted.append(name)
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="robotoff-ann-rivals-") as scratch:
            folder = Path(scratch)
            if real is not None:
                say(f"{real.name} and the truth")
                with np.load(real) as embedded:
                    files = VectorFiles.copy(folder, embedded["vectors"], queries, seed)
            else:
                say(f"drawing {count:,} logos, and the truth")
                files = VectorFiles.draw(folder, count, queries, seed)
            about = {"data": "drawn" if real is None else "real", "logos": len(files.vectors), "machine": machine()}
            for name in wanted:
                held = ENGINES[name].held_bytes_a_value * files.vectors.size
                if held > _available_bytes():
                    say(f"skipped: {name} needs {held / 1e9:.0f} GB of memory, more than there is")
                    continue
                say(name)
                append(output, (about | measured for measured in _measured(name, files, seconds)))
    say("done")


def _measured(name: str, files: VectorFiles, seconds: float) -> Iterator[Record]:
    """Measure an engine in a process of its own. One that fails is named, and the others continue."""
    # On shared cores, OpenMP threads that wait busily slow down the threads that they wait for.
    variables = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_WAIT_POLICY": "PASSIVE"}
    # Engines build on all cores; but NumPy's threads would wait for each other on the one core of the queries.
    variables["OPENBLAS_NUM_THREADS"] = "1" if ENGINES[name].numpy_in_queries else str(os.cpu_count())
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rivals.measurement", name, str(files.folder), str(seconds)],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    shutil.rmtree(files.folder / name, ignore_errors=True)
    if process.returncode:
        click.echo(f"{name} exited with {process.returncode}", err=True)


def _available_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10


if __name__ == "__main__":
    main()
