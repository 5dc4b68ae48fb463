"""Filters, bulks and new logos of a collection of 512 values in two projects, beside faiss with a selector of ids.

    python -m benchmarks.filters [--logos 100000]

The collection is filled over the app, in bulks of 500, as the client of docs/robotoff.md does, without the network. All
engines search with one thread, in turns. faiss' inverted lists are probed until they find as many of the true
neighbours as the service does without a filter.
"""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import falcon.testing
import numpy as np
import orjson
from numpy.typing import NDArray

from api.app import AnnApp, create_app
from benchmarks.logos import draw_logos
from embeddings.attributes.filters import Condition
from embeddings.collection.definition import CollectionDefinition
from embeddings.collection.directory import CollectionDirectory
from index.build import BuildRequest, build
from index.cosine import unit_rows
from index.unit_logos import UnitLogos
from settings import Settings
from tests.waiting import wait_until

NAME, DIM, BULK, COUNT, NEW = "clip-vit-b-32", 512, 500, 10, 10_000
SHARES = {"50 %": 0.5, "5 %": 0.05, "0.5 %": 0.005}
QUERIES = 200
Vectors = NDArray[np.float32]
Search = Callable[[Vectors], list[int]]


def add(app: AnnApp, ids: NDArray[np.int64], vectors: Vectors, attributes: list[dict[str, str]]) -> float:
    """Add logos in bulks, and return how many a second."""
    client, seconds = falcon.testing.TestClient(app), 0.0
    for first in range(0, len(ids), BULK):
        rows = range(first, min(first + BULK, len(ids)))
        logos = [
            {
                "id": int(ids[row]),
                "embedding": base64.b64encode(vectors[row].tobytes()).decode(),
                "attributes": attributes[row],
            }
            for row in rows
        ]
        body = orjson.dumps({"logos": logos})
        began = time.perf_counter()
        answer = client.simulate_post(
            "/api/v1/ann/add_embeddings",
            params={"index": NAME},
            body=body,
            headers={"Content-Type": "application/json"},
        )
        seconds += time.perf_counter() - began
        assert answer.json == {"added": len(rows)}, answer.text
    return len(ids) / seconds


def percentiles(searches: dict[str, Search], queries: Vectors) -> dict[str, tuple[float, float]]:
    """Return the 50th and 95th percentile of the milliseconds of each search, measured in turns."""
    taken: dict[str, list[float]] = {name: [] for name in searches}
    for query in [queries[0], *queries]:
        for name, search in searches.items():
            began = time.perf_counter()
            search(query)
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: (float(np.median(times[1:])), float(np.percentile(times[1:], 95))) for name, times in taken.items()}


def recall(search: Search, true: list[list[int]], queries: Vectors) -> float:
    """Return the share of the true neighbours that are found."""
    found = [len({*search(query)} & {*near}) / len(near) for query, near in zip(queries, true, strict=True)]
    return float(np.mean(found))


def exact(units: Vectors, ids: NDArray[np.int64], queries: Vectors) -> list[list[int]]:
    """Return the true neighbours of each query."""
    found = np.argsort(-(queries @ units.T), axis=1)[:, :COUNT]
    near: list[list[int]] = ids[found].tolist()
    return near


class Faiss:
    """Inverted lists of whole vectors, with a bitmap that selects ids."""

    def __init__(self, units: Vectors) -> None:
        import faiss

        self._faiss, lists = faiss, round(4 * len(units) ** 0.5)
        faiss.omp_set_num_threads(1)
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIM), DIM, lists)
        self._index.train(units[: 40 * lists])
        began = time.perf_counter()
        for first in range(0, len(units), BULK):
            self._index.add(units[first : first + BULK])
        self.rate = len(units) / (time.perf_counter() - began)
        self._total = len(units)

    def search(self, probes: int, rows: NDArray[np.int64] | None) -> Search:
        """Return a search of all logos, or of those in some rows."""
        options: dict[str, Any] = {"nprobe": probes}
        if rows is not None:
            bits = np.zeros(self._total, bool)
            bits[rows] = True
            packed = np.packbits(bits, bitorder="little")
            options["sel"] = self._faiss.IDSelectorBitmap(len(packed), self._faiss.swig_ptr(packed))
            options["sel"].packed = packed  # it holds a pointer to it
        parameters = self._faiss.SearchParametersIVF(**options)
        return lambda query: (self._index.search(query[np.newaxis], COUNT, params=parameters)[1][0] + 1).tolist()


def silent(doing: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
    """Show no progress of a build."""
    return nullcontext(lambda done: None)


def drawn(logos: int) -> Iterator[Vectors]:
    """Yield blocks of vectors of the collection's length."""
    for _, vectors in draw_logos(logos, 7):
        yield np.ascontiguousarray(vectors[:, :DIM], "<f4")


@click.command()
@click.option("--logos", type=click.IntRange(20_000), default=100_000, show_default=True)
def main(logos: int) -> None:
    """Print the figures."""
    vectors = np.vstack([*drawn(logos + NEW + QUERIES)])
    units, queries = unit_rows(vectors[:logos]), unit_rows(vectors[-QUERIES:])
    ids, rng = np.arange(1, logos + NEW + 1), np.random.default_rng(3)
    rows = {name: np.sort(rng.choice(logos, round(share * logos), replace=False)) for name, share in SHARES.items()}
    attributes = [{"server_type": "obf"} for _ in range(logos + NEW)]
    for row in rows["50 %"]:
        attributes[row]["server_type"] = "off"
    for name in ("5 %", "0.5 %"):
        for row in rows[name]:
            attributes[row][f"rare{SHARES[name]:g}".replace(".", "_")] = "yes"
    where = {"50 %": Condition("server_type", "off")} | {
        name: Condition(f"rare{SHARES[name]:g}".replace(".", "_"), "yes") for name in ("5 %", "0.5 %")
    }
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = Path(scratch)
        CollectionDirectory(data_dir).create(CollectionDefinition(NAME, DIM, "cosine"))
        app = create_app(Settings(data_dir=data_dir, store_capacity=logos + NEW, reload_seconds=0.2))
        collection = app.parts.collections.named(NAME)
        rate = add(app, ids[:logos], vectors[:logos], attributes)
        build(BuildRequest(data_dir / NAME), UnitLogos(collection.store), silent)
        wait_until(lambda: len(collection.catalog.get(None)) == logos)
        faiss = Faiss(units)
        true = exact(units, ids[:logos], queries)

        def service(*conditions: Condition) -> Search:
            search = collection.search.narrowed(conditions, None)
            return lambda query: search.of_vector(query, COUNT, None).logo_ids

        wanted = recall(service(), true, queries)
        probes = next(
            p
            for p in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 10**6)
            if recall(faiss.search(p, None), true, queries) >= wanted
        )
        click.echo(f"{logos:,} logos of {DIM} values, count={COUNT}, one thread; faiss probes {probes} lists\n")
        click.echo(
            "| filter | recall@10 | p50 (p95) | beside no filter | faiss: recall@10 | p50 (p95) |\n"
            "|---|---|---|---|---|---|"
        )
        searches = {"none": service(), "faiss none": faiss.search(probes, None)}
        for name in SHARES:
            searches |= {name: service(where[name]), f"faiss {name}": faiss.search(probes, rows[name])}
        taken = percentiles(searches, queries)
        for name in ("none", *SHARES):
            near = true if name == "none" else exact(units[rows[name]], rows[name] + 1, queries)
            (p50, p95), (their_p50, their_p95) = taken[name], taken[f"faiss {name}"]
            found, theirs = (recall(searches[of], near, queries) for of in (name, f"faiss {name}"))
            click.echo(
                f"| {name} | {found:.3f} | {p50:.2f} ({p95:.2f}) ms | {p50 / taken['none'][0]:.2f} × |"
                f" {theirs:.3f} | {their_p50:.2f} ({their_p95:.2f}) ms |"
            )
        click.echo(f"\nadded in bulks of {BULK}: {rate:,.0f}/s, on disk; faiss, in memory: {faiss.rate:,.0f}/s")
        add(app, ids[logos:], vectors[logos : logos + NEW], attributes[logos:])
        alone = replace(collection.search, unindexed=None)
        both = percentiles(
            {"index": lambda query: alone.of_vector(query, COUNT, None).logo_ids, "fresh": service()}, queries
        )
        click.echo(f"{NEW:,} new logos beside the index: {both['fresh'][0] - both['index'][0]:.2f} ms more, p50")
        app.parts.close()


if __name__ == "__main__":
    main()
