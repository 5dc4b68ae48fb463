"""The formulas of the pages about Milvus, and their tables, which must agree with the results."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.page import fill
from benchmarks.results import RESULTS, append, read
from benchmarks.scale_out import page
from benchmarks.scale_out.index_types import INDEX_TYPES
from benchmarks.scale_out.sizing import Layout, Machine, Prices, cheapest, layouts, plan


def record(**changed: object) -> dict[str, object]:
    return {
        "logos": 20_000,
        "index": "HNSW",
        "segments": 1,
        "effort": 64,
        "count": 10,
        "recall": 1.0,
        "cpu_ms": 2.0,
    } | {**changed}


def test_every_type_that_is_measured_can_be_computed() -> None:
    assert set(layouts()) == set(INDEX_TYPES)


def test_bytes_of_a_logo_are_those_of_its_vector_and_what_the_type_adds() -> None:
    memory = {name: layout.memory for name, layout in layouts(100_000).items()}
    assert memory["FLAT"] == 5128
    assert memory["HNSW"] - memory["FLAT"] == pytest.approx(4 * 33 + 4 * 17 / 15)
    assert memory["IVF_FLAT"] - memory["FLAT"] == pytest.approx(1265 * 5120 / 100_000)
    assert memory["IVF_SQ8"] < memory["FLAT"] / 3
    assert memory["DISKANN"] < memory["IVF_SQ8"]
    assert layouts()["DISKANN"].local_disk == 2 * 4096


def test_a_plan_follows_its_formulas() -> None:
    machine, prices = Machine(10, 100, 0.5, 0.5), Prices(1.0, 0.1, 0.0, 0.0, 100.0)
    planned = plan(1_000_000, Layout(100_000), lambda segments: 0.1 * segments, machine, prices)
    assert planned.memory == 1e11
    assert (planned.machines, planned.segments) == (2, 10)
    assert planned.queries_a_second == 2 * 10 * 0.5 / 1.0
    assert planned.dollars_a_month == 100 * 2 * (10 * 1.0 + 100 * 0.1)
    assert planned.dollars_a_million == pytest.approx(1e6 * 4000 / (10 * 3600 * 100))
    assert plan(1_000_000, Layout(100_000), None).dollars_a_million is None


def test_the_cheapest_effort_that_finds_enough_is_taken() -> None:
    records = [
        record(effort=16, recall=0.9, cpu_ms=1.0),
        record(effort=64, recall=0.96, cpu_ms=2.0),
        record(effort=128, recall=0.99, cpu_ms=3.0),
        record(index="SCANN", effort=8, recall=0.7),
        record(index="SCANN", effort=16, recall=0.8),
    ]
    assert [cheapest(records, 20_000, name, 10) for name in ("HNSW", "SCANN", "FLAT")] == [records[1], records[4], None]


def test_the_same_logos_in_several_segments_stand_beside_what_is_computed() -> None:
    about = {"count": 100, "effort": 128, "p50_ms": 1.0}
    rows = page.segments_rows(
        [
            record(**about, logos=1000, cpu_ms=1.0),
            record(**about, logos=20_000, cpu_ms=3.0),
            record(**about, logos=100_000, cpu_ms=4.0),
            record(**about, logos=100_000, segments=5, cpu_ms=10.5),
        ]
    )
    assert [(row[2], row[6], row[7]) for row in rows] == [("1", "4.0", ""), ("5", "10.5", "11.0")]


def test_pages_are_filled_from_results(tmp_path: Path) -> None:
    results, written = tmp_path / "scale_out.jsonl", tmp_path / "page.md"
    append(results, [])
    written.write_text("<!-- table: types -->\n<!-- end -->\n<!-- table: bytes -->\n<!-- end -->\n")
    arguments = ["--results", str(results), "--page", str(written)]
    CliRunner().invoke(page.main, arguments, catch_exceptions=False)
    assert "Not measured yet" in written.read_text()
    assert "| HNSW | 5,265 |" in written.read_text()


@pytest.mark.parametrize("written", page.PAGES, ids=lambda written: written.stem)
def test_the_pages_say_what_the_results_say(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert fill(text, page.tables(read(RESULTS / "scale_out.jsonl", page.KEY))) == text
