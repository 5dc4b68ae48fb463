"""`make bench`: measure each claim of the README beside its rival, and print one Markdown table.

Progress goes to standard error. Files are written to a temporary directory: TMPDIR should be on the disk that would
hold the store, not in memory.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import (
    add,
    cold_start,
    embedding,
    image_query,
    index_map,
    memory,
    original,
    query,
    recall,
    store_append,
    store_read,
)
from benchmarks.fixture import Fixture, Scale
from benchmarks.table import Row, machine, render

ROWS: dict[str, Callable[[Fixture], list[Row]]] = {
    "query": query.measure,
    "recall": recall.measure,
    "embedding": embedding.measure,
    "add": add.measure,
    "image-query": image_query.measure,
    "map": index_map.measure,
    "cold-start": cold_start.measure,
    "memory": memory.measure,
    "append": store_append.measure,
    "read": store_read.measure,
    "original": original.measure,
}
SCALE = Scale()


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="A row to measure; may be repeated.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write the table to this file.")
@click.option("--logos", type=click.IntRange(1), default=SCALE.logos, show_default=True, help="Logos in the index.")
@click.option("--trees", type=click.IntRange(1), default=SCALE.trees, show_default=True, help="Trees of the index.")
@click.option(
    "--stored-logos",
    type=click.IntRange(1),
    default=SCALE.stored_logos,
    show_default=True,
    help="Logos in the stores that single vectors are read from.",
)
@click.option("--repetitions", type=click.IntRange(1, 100), default=SCALE.repetitions, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=SCALE.seconds, show_default=True, help="Time to measure one rate."
)
@click.option("--seed", default=SCALE.seed, show_default=True, help="Determines all drawn data.")
def main(
    only: tuple[str, ...],
    output: Path | None,
    logos: int,
    trees: int,
    stored_logos: int,
    repetitions: int,
    seconds: float,
    seed: int,
) -> None:
    """Measure the claims of the README, each beside its rival in the same run."""
    started = time.monotonic()

    def say(what: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {what}", err=True)

    scale = Scale(logos, trees, stored_logos, repetitions, seconds, seed)
    with tempfile.TemporaryDirectory(prefix="robotoff-ann-bench-") as scratch:
        fixture = Fixture(scale, Path(scratch), say)
        rows: list[Row] = []
        for name in only or ROWS:
            rows += ROWS[name](fixture)
    notes = [
        f"{machine()}.",
        f"Medians of {repetitions} repetitions in turns ({scale.few} of starts); in brackets, the range of the ratio.",
        *fixture.notes,
    ]
    text = f"{' '.join(notes)}\n\n{render(rows)}\n"
    click.echo(text, nl=False)
    if output is not None:
        output.write_text(text)
    say("done")


if __name__ == "__main__":
    main()
