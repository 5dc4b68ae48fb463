"""The client that docs/robotoff.md prints, against a service of two workers over HTTP.

    python -m benchmarks.client [--logos 100000]

The logos are of two projects, half of them each. Recall is that of `knn_search` within a project, beside exact search.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import click
import numpy as np

from benchmarks.filters import COUNT, NAME, QUERIES, drawn
from index.cosine import unit_rows
from tests.docs.robotoff_page import client_of_page, create_collection
from tests.end_to_end.service import Service, manage
from tests.waiting import wait_until

PROJECTS = ("off", "obf")
LABELLED, LABELS = 0.5, 1000  # share of the logos with a label, and number of labels
DELETED = 1000


@click.command()
@click.option("--logos", type=click.IntRange(2 * DELETED), default=100_000, show_default=True)
def main(logos: int) -> None:
    """Print the figures."""
    vectors = np.vstack([*drawn(logos)])
    parts = dict(zip(PROJECTS, np.array_split(np.arange(logos), len(PROJECTS)), strict=True))
    rng = np.random.default_rng(5)
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(Path(folder) / "data", workers=2, ANN_ALLOW_DELETE="1", ANN_STORE_CAPACITY=str(2 * logos)) as service,
    ):
        create_collection(service.data_dir)
        client = client_of_page(service.port)
        began = time.monotonic()
        for project, rows in parts.items():
            client.add_logos_to_ann({int(row) + 1: vectors[row].tobytes() for row in rows}, project)
        click.echo(f"added: {logos / (time.monotonic() - began):,.0f} logos/s by one client")
        began = time.monotonic()
        labelled = rng.choice(logos, round(LABELLED * logos), replace=False)
        client.set_labels({int(row) + 1: ("brand", f"brand-{row % LABELS}") for row in labelled})
        click.echo(f"labelled: {len(labelled) / (time.monotonic() - began):,.0f} logos/s")
        began = time.monotonic()
        built = manage(service.data_dir, "generate-index", "--index", NAME)
        assert built.returncode == 0, built.stderr
        click.echo(f"built: {time.monotonic() - began:.0f} s")
        wait_until(lambda: service.get(f"/status?index={NAME}").json()["logos_indexed"] == logos)

        units, found = unit_rows(vectors), 0

        def timed(name: str, call: Callable[[int, str], object]) -> list[tuple[int, str, object]]:
            seconds, answers = [], []
            for row in rng.choice(logos, QUERIES, replace=False).tolist():
                project = next(name for name, rows in parts.items() if rows[0] <= row <= rows[-1])
                began = time.perf_counter()
                answer = call(row + 1, project)
                seconds.append(1000 * (time.perf_counter() - began))
                answers.append((row, project, answer))
            click.echo(f"{name}: p50 {median(seconds):.1f} ms, p95 {quantiles(seconds, n=20)[-1]:.1f} ms")
            return answers

        timed("warm-up", lambda logo_id, project: client.knn_search(logo_id, COUNT, project))
        for row, project, near in timed(
            "knn_search", lambda logo_id, project: dict(client.knn_search(logo_id, COUNT, project))
        ):
            rows = parts[project]
            others = rows[rows != row]
            true = others[np.argsort(units[others] @ -units[row])[:COUNT]] + 1
            assert isinstance(near, dict)
            found += len(near.keys() & set(true.tolist()))
        click.echo(f"recall@{COUNT}: {found / (QUERIES * COUNT):.4f}")
        timed("predict_proba of one logo", lambda logo_id, project: client.predict_proba([logo_id], COUNT, project))
        began = time.monotonic()
        client.delete_ann_logos(range(1, DELETED + 1))
        click.echo(f"deleted: {DELETED} logos in {time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    main()
