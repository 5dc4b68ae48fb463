"""`python -m benchmarks.scale_out`: measure Milvus' index types on the server at ANN_MILVUS_URI.

The server must be on this machine and used for this alone: it is restarted for each type, and its processor time,
memory and files are measured. Drawn logos are inserted once for each size. Every figure is appended to
docs/benchmarks/scale_out.jsonl, from which the tables of docs/scale-out.md and docs/benchmarks/milvus.md are made.
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
@click.option("--start", required=True, help="The command that starts the server and finally prints its process id.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The server's data directory.",
)
@click.option("--logos", multiple=True, type=click.IntRange(1000), default=[20_000], show_default=True)
@click.option(
    "--index", "names", multiple=True, type=click.Choice(list(INDEX_TYPES)), help="May be repeated.  [default: all]"
)
@click.option("--queries", type=click.IntRange(20), default=200, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Determines vectors and queries.")
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
    say(f"Milvus {about['milvus']}; idle it uses {server.idle_cpu:.2f} of a processor")
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
                    say(f"skipped: {error}")
    server.stop()
    say("done")


if __name__ == "__main__":
    main()
