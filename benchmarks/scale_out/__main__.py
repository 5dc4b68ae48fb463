"""`python -m benchmarks.scale_out`: what each of Milvus' index types takes, on a server that ANN_MILVUS_URI names.

The server is one for this alone, on this machine, started anew for each type: its processor time, memory and files are
looked at. Drawn logos are filled in once for each size; every figure is added to docs/benchmarks/scale_out.jsonl, which
the tables of docs/scale-out.md are made of.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from benchmarks.results import RESULTS, append
from benchmarks.rivals.vectors import VectorFiles
from benchmarks.scale_out.index_types import INDEX_TYPES
from benchmarks.scale_out.measurement import compact, fill, measure, segment_rows
from benchmarks.scale_out.server import Server
from benchmarks.table import machine


@click.command()
@click.option("--start", required=True, help="The command that starts the server; it prints its process id, last.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="That the server keeps its data in.",
)
@click.option("--logos", multiple=True, type=click.IntRange(1000), default=[20_000], show_default=True)
@click.option("--index", "names", multiple=True, type=click.Choice(list(INDEX_TYPES)), help="May be repeated; or all.")
@click.option("--queries", type=click.IntRange(20), default=200, show_default=True)
@click.option("--seed", default=1, show_default=True, help="That vectors and queries are drawn by.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=RESULTS / "scale_out.jsonl")
def main(
    start: str, folder: Path, logos: tuple[int, ...], names: tuple[str, ...], queries: int, seed: int, output: Path
) -> None:
    """Measure a Milvus server. Vectors are drawn into a temporary directory: TMPDIR should be on a disk."""
    started = time.monotonic()

    def say(what: str) -> None:
        click.echo(f"{time.monotonic() - started:7.1f} s  {what}", err=True)

    server = Server(start, folder)
    client = MilvusClient(os.environ.get("ANN_MILVUS_URI", "http://127.0.0.1:19530"))
    about = {"milvus": client.get_server_version(), "machine": machine()}
    say(f"Milvus {about['milvus']}, idle it takes {server.idle_cpu:.2f} of a processor")
    for count in logos:
        with tempfile.TemporaryDirectory(prefix="robotoff-ann-scale-out-") as scratch:
            say(f"drawing {count:,} logos, and the truth")
            files = VectorFiles.draw(Path(scratch), count, queries, seed)
            say("filling")
            of_fill = {"logos": count} | fill(client, files, server)
            say(f"compacting {segment_rows(client)}")
            compact(client)
            say(f"segments {segment_rows(client)}: {of_fill}")
            for name in names or INDEX_TYPES:
                say(name)
                try:
                    for record in measure(client, files, server, INDEX_TYPES[name]):
                        say(f"  {record}")
                        append(output, [about | of_fill | record])
                except MilvusException as error:
                    say(f"left out: {error}")
    server.stop()
    say("done")


if __name__ == "__main__":
    main()
