"""Plots of result files: recall against speed, and what each engine costs as the number of logos grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Record

GOOD_RECALL = 0.95  # at 10 neighbours; costs are compared at the fastest effort that reaches it
COUNTS = (10, 100)
COSTS: tuple[tuple[str, Callable[[Record], float]], ...] = (
    ("ms a query, one core", lambda record: record["median_ms"]),
    ("seconds to build", lambda record: record["build_seconds"]),
    ("GB on disk", lambda record: record["disk_bytes"] / 1e9),
    ("GB in memory", lambda record: record["memory_bytes"] / 1e9),
)
OURS = "service"
MARKERS = "osv^D<>pPX"


def recall_against_speed(records: Sequence[Record], path: Path) -> None:
    """Plot a curve for each engine over its efforts, for 10 and for 100 neighbours; up and right is better."""
    pyplot = _pyplot()
    figure, panels = pyplot.subplots(1, len(COUNTS), figsize=(11, 5.5), sharey=True, layout="constrained")
    for panel, count in zip(panels, COUNTS, strict=True):
        for number, (engine, of_engine) in enumerate(_by_engine(records).items()):
            points = sorted((r["recall"], r["queries_a_second"]) for r in of_engine if r["count"] == count)
            panel.plot(*zip(*points, strict=True), label=of_engine[0]["title"], **_style(engine, number))
        panel.set(xlabel=f"recall@{count}", yscale="log")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("queries a second, one core")
    _finish(figure, panels[0], path)


def cost_against_size(records: Sequence[Record], path: Path) -> None:
    """Plot each cost of each engine over the number of logos, at its fastest effort with `GOOD_RECALL`."""
    pyplot = _pyplot()
    figure, panels = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")
    chosen = good_enough(records)
    for panel, (label, cost) in zip(panels.flat, COSTS, strict=True):
        for number, (engine, of_engine) in enumerate(_by_engine(chosen).items()):
            points = sorted((record["logos"], cost(record)) for record in of_engine)
            panel.plot(*zip(*points, strict=True), label=of_engine[0]["title"], **_style(engine, number))
        panel.set(xlabel="logos", ylabel=label, xscale="log", yscale="log")
        panel.grid(alpha=0.3)
    _finish(figure, panels[0, 0], path)


def good_enough(records: Sequence[Record]) -> list[Record]:
    """Return, for each engine and size, the fastest record for 10 neighbours that reaches `GOOD_RECALL`, if any."""
    best: dict[tuple[str, int], Record] = {}
    for record in records:
        if record["count"] != COUNTS[0] or record["recall"] < GOOD_RECALL:
            continue
        key = (record["engine"], record["logos"])
        if key not in best or record["queries_a_second"] > best[key]["queries_a_second"]:
            best[key] = record
    return list(best.values())


def _by_engine(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["engine"], []).append(record)
    return found


def _style(engine: str, number: int) -> dict[str, Any]:
    style = {"marker": MARKERS[number % len(MARKERS)], "color": f"C{number % 10}", "markersize": 5, "linewidth": 1.2}
    return style | {"color": "black", "linewidth": 2.6, "zorder": 5} if engine == OURS else style


def _finish(figure: Any, panel: Any, path: Path) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})  # the same results give the same bytes
    _pyplot().close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "robotoff-ann"
    from matplotlib import pyplot

    return pyplot
