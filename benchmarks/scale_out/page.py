"""`python -m benchmarks.scale_out.page`: fill the pages about Milvus with tables of what was measured and computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click

from benchmarks.page import NOTHING, fill, markdown
from benchmarks.results import RESULTS, Record, read
from benchmarks.scale_out.index_types import COUNTS, INDEX_TYPES
from benchmarks.scale_out.sizing import SEGMENT_LOGOS, Plan, cheapest, layouts, plan

PAGES = (RESULTS.parent / "scale-out.md", RESULTS / "milvus.md")
KEY = ("logos", "index", "segments", "effort", "count")
SIZES = (4_000_000, 40_000_000, 400_000_000)
SERVED = 100  # neighbours in the service's queries


@click.command()
@click.option("--results", type=click.Path(path_type=Path, exists=True), default=RESULTS / "scale_out.jsonl")
@click.option(
    "--page", "pages", type=click.Path(path_type=Path, exists=True, dir_okay=False), multiple=True, default=PAGES
)
def main(results: Path, pages: Sequence[Path]) -> None:
    """Fill the tables of the pages from the file of results."""
    filled = tables(read(results, KEY))
    for page in pages:
        page.write_text(fill(page.read_text(encoding="utf-8"), filled), encoding="utf-8")


def tables(records: Sequence[Record]) -> dict[str, Callable[[], str]]:
    """Return the tables of the pages by their names."""
    whole = [record for record in records if record["segments"] == 1]
    return {
        "types": lambda: _table(TYPES, types_rows(whole)),
        "segments": lambda: _table(SEGMENTS, segments_rows(records)),
        "bytes": lambda: _table(BYTES, bytes_rows()),
        "sizes": lambda: _table(
            NEEDS, ([row[PLANS.index(name)] for name in NEEDS] for row in sizes_rows(whole, ["HNSW"]))
        ),
        "all-sizes": lambda: _table(PLANS, sizes_rows(whole, layouts())),
        "machine": lambda: "\n".join(sorted({f"Milvus {r['milvus']}; {r['machine']}." for r in records})) or NOTHING,
    }


TYPES = "logos,type,index: CPU s,files MB,memory MB,computed MB".split(",") + [
    name for count in COUNTS for name in (f"effort@{count}", f"recall@{count}", "p50 ms", "p95 ms", "CPU ms")
]
SEGMENTS = ["logos", "type", "segments", f"effort@{SERVED}", f"recall@{SERVED}", "p50 ms", "CPU ms", "computed"]
BYTES = ["type", "memory, bytes a logo", "local disk, bytes a logo"]
PLANS = [
    *("logos", "type", "memory GB", "local disk GB", "object storage GB", "query nodes", "segments"),
    *("index, CPU h", "CPU s a query", "queries/s", "$ a month", "$ a million queries"),
]
NEEDS = ["logos", "memory GB", "query nodes", "index, CPU h", "CPU s a query", "queries/s", "$ a month"]


def types_rows(records: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the cost of every type, at the cheapest effort that finds enough."""
    for logos in sorted({record["logos"] for record in records}):
        for index in INDEX_TYPES:
            best = [cheapest(records, logos, index, count) for count in COUNTS]
            if None in best or logos < SERVED**2:
                continue
            first = next(record for record in best if record)
            computed = logos * layouts(logos)[index].memory
            row = [f"{logos:,}", index, f"{first['index_cpu_seconds']:.0f}"]
            row += [f"{value / 1e6:,.0f}" for value in (first["disk_bytes"], first["memory_bytes"], computed)]
            for r in filter(None, best):
                effort = f"{INDEX_TYPES[index].effort} {r['effort']}" if INDEX_TYPES[index].effort else ""
                row += [effort, f"{r['recall']:.3f}", *(f"{r[name]:.1f}" for name in ("p50_ms", "p95_ms", "cpu_ms"))]
            yield row


def segments_rows(records: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the same logos in one segment and in several, beside the cost computed from one small segment."""
    base = base_cpu_ms(records)
    for several in [record for record in records if record["segments"] > 1 and record["count"] == SERVED]:
        same = [r for r in records if all(r[name] == several[name] for name in ("index", "count", "effort"))]
        one = next((r for r in same if r["segments"] == 1 and r["logos"] == several["logos"]), None)
        rows = several["logos"] / several["segments"]
        part = next((r for r in same if r["segments"] == 1 and 0.75 < rows / r["logos"] < 1.25), None)
        for record in filter(None, (one, several)):
            computed = base + several["segments"] * (part["cpu_ms"] - base) if part and record is several else None
            yield [
                *(f"{record['logos']:,}", record["index"], str(record["segments"]), str(record["effort"])),
                *(f"{record['recall']:.3f}", f"{record['p50_ms']:.1f}", f"{record['cpu_ms']:.1f}"),
                "" if computed is None else f"{computed:.1f}",
            ]


def bytes_rows() -> Iterator[list[str]]:
    """Yield the bytes of a logo by formula."""
    for index, layout in layouts().items():
        yield [index, f"{layout.memory:,.0f}", f"{layout.local_disk:,.0f}"]


def sizes_rows(records: Sequence[Record], types: Iterable[str]) -> Iterator[list[str]]:
    """Yield the needs of one replica at each size, with each of the types of index."""
    for size in SIZES:
        for index in types:
            measured = cheapest(records, SEGMENT_LOGOS, index, SERVED)
            cpu = None if measured is None else _of_segments(base_cpu_ms(records) / 1e3, measured["cpu_ms"] / 1e3)
            planned = plan(size, layouts()[index], cpu)
            hours = "" if measured is None else f"{planned.segments * measured['index_cpu_seconds'] / 3600:,.0f}"
            yield [f"{size:,}", index, *_cells(planned, hours)]


def base_cpu_ms(records: Sequence[Record]) -> float:
    """Return the cost of a query that has hardly anything to search."""
    return min((float(r["cpu_ms"]) for r in records if r["logos"] == 1000 and r["count"] == SERVED), default=0.0)


def _of_segments(base: float, of_one: float) -> Callable[[int], float]:
    return lambda segments: base + segments * (of_one - base)


def _cells(planned: Plan, index_hours: str) -> list[str]:
    gigabytes = (f"{value / 1e9:,.0f}" for value in (planned.memory, planned.local_disk, planned.object_storage))
    return [
        *gigabytes,
        *(f"{planned.machines:,}", f"{planned.segments:,}"),
        index_hours,
        "" if planned.cpu_seconds is None else f"{planned.cpu_seconds:.3g}",
        "" if planned.queries_a_second is None else f"{planned.queries_a_second:,.3g}",
        f"{planned.dollars_a_month:,.0f}",
        "" if planned.dollars_a_million is None else f"{planned.dollars_a_million:,.3g}",
    ]


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    found = list(rows)
    return markdown(head, found) if found else NOTHING


if __name__ == "__main__":
    main()
