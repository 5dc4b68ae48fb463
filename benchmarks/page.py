"""`python -m benchmarks.page`: fill docs/benchmarks/README.md with tables and plots of the result files beside it.

A table stands between two comments that name it, `<!-- table: NAME -->` and `<!-- end -->`; the rest is written by
hand. So no figure is typed, and nothing is measured again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import click

from benchmarks.plots import COUNTS, OURS, cost_against_size, good_enough, recall_against_speed
from benchmarks.results import RESULTS, Record, read

KEY = ("data", "logos", "engine", "effort", "count")
EQUAL_RECALLS = (0.98, 0.99, 0.995)
NOTHING = "*Not measured yet.*"
_TABLE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=RESULTS,
    help="The directory of README.md and the results.  [default: docs/benchmarks]",
)
@click.option("--plots/--no-plots", default=True, show_default=True, help="Draw the plots; this needs matplotlib.")
@click.option("--curves-at", type=int, help="Number of logos for recall plots.  [default: the most, with most engines]")
def main(folder: Path, plots: bool, curves_at: int | None) -> None:
    """Make the tables and plots of the page from the files of results."""
    measured = read(folder / "rivals.jsonl", KEY)
    drawn = [record for record in measured if record["data"] == "drawn"]
    curves = at_size(drawn, curves_at)
    tables: dict[str, Callable[[], str]] = {
        "rows": lambda: _text(folder / "rows.md"),
        "likeness": lambda: likeness_table(read(folder / "likeness.jsonl", ("data", "logos"))),
        "same-engines": lambda: same_engines_table(measured),
        "rivals": lambda: rivals_table(curves),
        "in-turns": lambda: in_turns_table(read(folder / "in_turns.jsonl", ("logos", "engine", "effort"))),
        "full-size": lambda: full_size_table(read(folder / "full_size.jsonl")),
        "sizes": lambda: sizes_table(good_enough(drawn)),
        "machines": lambda: "\n".join(sorted({f"- {record['machine']}" for record in measured})) or NOTHING,
    }
    page = folder / "README.md"
    page.write_text(fill(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    if plots and curves:
        recall_against_speed(curves, folder / "recall.svg")
    if plots and good_enough(drawn):
        cost_against_size(drawn, folder / "cost.svg")


def fill(page: str, tables: dict[str, Callable[[], str]]) -> str:
    """Put every table in its place.

    Raises:
        KeyError: the page has a place for an unknown table.
    """
    return _TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]()}\n{match[3]}", page)


def at_size(records: Sequence[Record], logos: int | None) -> list[Record]:
    """Return the records of the given size, or of the largest size that most engines were measured at."""
    engines = {
        size: len({r["engine"] for r in records if r["logos"] == size}) for size in {r["logos"] for r in records}
    }
    if logos is None and engines:
        logos = max(engines, key=lambda size: (engines[size], size))
    return [record for record in records if record["logos"] == logos]


def likeness_table(records: Sequence[Record]) -> str:
    """Return a table of the latest statistics of real and drawn logos, side by side."""
    by_data = {record["data"]: record for record in records}
    if set(by_data) != {"real", "drawn"}:
        return NOTHING
    names = [name for name in by_data["real"] if name not in ("data", "logos")]
    rows = [[name, *(_several(by_data[data].get(name, "")) for data in ("real", "drawn"))] for name in names]
    return markdown([f"of {by_data['real']['logos']:,} logos", "real", "drawn"], rows)


def same_engines_table(records: Sequence[Record]) -> str:
    """Return a table of the recall of the same engines with the same effort on real and on drawn logos."""
    recalls: dict[tuple[int, str, str], dict[tuple[str, int], float]] = {}
    for r in records:
        recalls.setdefault((r["logos"], r["title"], r["effort"]), {})[r["data"], r["count"]] = r["recall"]
    wanted = [(data, count) for count in COUNTS for data in ("real", "drawn")]
    rows = [
        [f"{logos:,}", title, effort, *(f"{of_both[place]:.3f}" for place in wanted)]
        for (logos, title, effort), of_both in recalls.items()
        if all(place in of_both for place in wanted)
    ]
    if not rows:
        return NOTHING
    return markdown(["logos", "engine", "effort", *(f"recall@{count}, {data}" for data, count in wanted)], rows)


def rivals_table(records: Sequence[Record]) -> str:
    """Return a table of every engine with every effort, at one size."""
    of_counts: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        of_counts.setdefault((record["title"], record["effort"]), {})[record["count"]] = record
    rows = []
    for (title, effort), by_count in of_counts.items():
        cells = [title, effort]
        for count in COUNTS:
            found = by_count.get(count)
            cells += ["", ""] if found is None else [f"{found['recall']:.3f}", f"{found['queries_a_second']:,.0f}"]
        rows.append(cells + _costs(next(iter(by_count.values()))))
    if not rows:
        return NOTHING
    figures = [name for count in COUNTS for name in (f"recall@{count}", f"queries/s, {count}")]
    table = markdown(["engine", "effort", *figures, "build, s", "disk, MB", "memory, MB"], rows)
    return f"{records[0]['logos']:,} drawn logos.\n\n{table}"


def in_turns_table(records: Sequence[Record]) -> str:
    """Return a table of our time at equal recall beside that of the fastest rival, for each size."""
    rows = []
    for logos in sorted({record["logos"] for record in records}):
        of_size = [record for record in records if record["logos"] == logos]
        for recall in EQUAL_RECALLS:
            times = {title: time_at(of_size, title, recall) for title in {record["title"] for record in of_size}}
            ours = times.pop(next((r["title"] for r in of_size if r["engine"] == OURS), ""), None)
            known = {title: ms for title, ms in times.items() if ms is not None}
            if ours is not None and known:
                best = min(known, key=known.__getitem__)
                figures = [f"{ours:.2f}", f"{known[best]:.2f}, {best}", f"{known[best] / ours:.2f}"]
                rows.append([f"{logos:,}", f"{recall}", *figures])
    return (
        markdown(["logos", "recall@100", "robotoff-ann, ms", "fastest graph, ms", "ratio"], rows) if rows else NOTHING
    )


def time_at(records: Sequence[Record], title: str, recall: float) -> float | None:
    """Return an engine's milliseconds at a recall, between two efforts; `None` if all find more or all find less."""
    points = sorted((math.log(1 - r["recall"] + 1e-4), median(r["ms"])) for r in records if r["title"] == title)
    wanted = math.log(1 - recall + 1e-4)
    for (more, slow), (less, fast) in pairwise(points):
        if more <= wanted <= less:
            share = (wanted - more) / (less - more) if less > more else 0.0
            return float(slow + (fast - slow) * share)
    return None


def sizes_table(records: Sequence[Record]) -> str:
    """Return a table of the cost of each engine at each size, at its fastest effort that is good enough."""
    rows = [
        [f"{r['logos']:,}", r["title"], r["effort"], f"{r['recall']:.3f}", f"{r['median_ms']:.2f}", *_costs(r)]
        for r in sorted(records, key=lambda record: record["logos"])
    ]
    if not rows:
        return NOTHING
    return markdown(["logos", "engine", "effort", "recall@10", "ms", "build, s", "disk, MB", "memory, MB"], rows)


def full_size_table(records: Sequence[Record]) -> str:
    """Return a table of the last run of `benchmarks.full_size`, beside the published figures of Elasticsearch."""
    if not records:
        return NOTHING
    last = records[-1]
    published = {"count=100: p50, ms": "80", "resident, MB": "under 5,000", "recall@10": "0.953"}
    rows = [
        [name, f"{value:,}" if isinstance(value, int) else str(value), published.get(name, "")]
        for name, value in last.items()
        if name != "machine"
    ]
    return f"{last['machine']}.\n\n{markdown(['what', 'measured', 'Elasticsearch, published'], rows)}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _costs(record: Record) -> list[str]:
    megabytes = (f"{record[name] / 1e6:,.0f}" for name in ("disk_bytes", "memory_bytes"))
    return [f"{record['build_seconds']:,.1f}", *megabytes]


def _several(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{part} in {name}" for name, part in value.items())
    return " / ".join(map(str, value)) if isinstance(value, list) else str(value)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else NOTHING


if __name__ == "__main__":
    main()
