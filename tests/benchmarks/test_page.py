"""The page of the benchmarks: its tables and plots are made from result files."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.page import NOTHING, at_size, fill, in_turns_table, likeness_table, main, same_engines_table
from benchmarks.plots import good_enough
from benchmarks.results import RESULTS, Record, append


def record(**changes: object) -> Record:
    return {
        "data": "drawn",
        "logos": 1000,
        "machine": "2 cores",
        "engine": "annoy",
        "title": "Annoy, 100 trees",
        "versions": "annoy 1",
        "effort": "search_k 5",
        "count": 10,
        "recall": 0.96,
        "queries_a_second": 200.0,
        "median_ms": 5.0,
        "build_seconds": 1.5,
        "disk_bytes": 3_000_000,
        "memory_bytes": 4_000_000,
    } | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(RESULTS / "README.md", tmp_path)
    append(tmp_path / "full_size.jsonl", [{"machine": "2 cores", "logos": 5, "recall@10": 0.97}])
    append(
        tmp_path / "rivals.jsonl",
        [
            record(logos=logos, count=count, data=data)
            for logos in (1000, 2000)
            for count in (10, 100)
            for data in ("drawn", "real")
        ],
    )
    append(tmp_path / "likeness.jsonl", [{"data": data, "logos": 9, "length": [1, 2, 3]} for data in ("real", "drawn")])
    append(tmp_path / "in_turns.jsonl", in_turns("robotoff-ann", (0.9, 1.0), (1.0, 2.0)))
    append(tmp_path / "in_turns.jsonl", in_turns("HNSW", (0.9, 3.0), (1.0, 6.0)))
    (tmp_path / "rows.md").write_text("| what |\n|---|\n| a row |\n")
    return tmp_path


def test_the_page_is_filled_from_results_and_filled_again_alike(folder: Path) -> None:
    for _ in range(2):
        ran = CliRunner().invoke(main, ["--folder", str(folder), "--no-plots"], catch_exceptions=False)
        assert ran.exit_code == 0
        page = (folder / "README.md").read_text()
        assert page.count("| Annoy, 100 trees | search_k 5 | 0.960 | 200 | 0.960 | 200 | 1.5 | 3 | 4 |") == 1
        assert page.count("| a row |") == 1
        assert page.count("| length | 1 / 2 / 3 | 1 / 2 / 3 |") == 1
        assert page.count("| 2,000 | Annoy, 100 trees | search_k 5 | 0.960 | 0.960 | 0.960 | 0.960 |") == 1
        assert page.count(", HNSW | 3.00 |") == 3
        assert page.count("- 2 cores") == 1
        assert "| recall@10 | 0.97 | 0.953 |" in page
        assert NOTHING not in page


def test_plots_are_small_and_the_same_each_time(folder: Path) -> None:
    if find_spec("matplotlib") is None:
        pytest.skip("not installed: matplotlib (requirements-bench.txt)")
    drawn = []
    for _ in range(2):
        assert CliRunner().invoke(main, ["--folder", str(folder)], catch_exceptions=False).exit_code == 0
        drawn.append([(folder / name).read_bytes() for name in ("recall.svg", "cost.svg")])
    assert drawn[0] == drawn[1]
    assert all(1000 < len(plot) < 200_000 for plot in drawn[0])


def test_a_placeholder_for_an_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        fill("<!-- table: nothing -->\n<!-- end -->", {})


def test_what_was_not_measured_says_so() -> None:
    assert likeness_table([{"data": "real", "logos": 3}]) == NOTHING
    assert same_engines_table([record()]) == NOTHING


def test_curves_are_of_the_largest_size_that_most_engines_were_measured_at() -> None:
    records = [record(logos=logos, engine=engine) for logos, engine in ((1, "a"), (2, "a"), (2, "b"), (3, "b"))]
    assert {found["logos"] for found in at_size(records, None)} == {2}
    assert {found["logos"] for found in at_size(records, 3)} == {3}
    assert at_size([], None) == []


def test_costs_are_those_of_the_quickest_effort_that_is_good_enough() -> None:
    efforts = [(0.9, 900.0), (0.95, 500.0), (0.99, 100.0)]
    records = [record(recall=recall, queries_a_second=rate, effort=str(rate)) for recall, rate in efforts]
    assert [found["effort"] for found in good_enough([*records, record(count=100, queries_a_second=1e4)])] == ["500.0"]
    assert good_enough([record(recall=0.94)]) == []


def test_every_result_of_the_page_is_in_a_file_beside_it() -> None:
    committed = (RESULTS / "README.md").read_text()
    tables = "rows", "full-size", "likeness", "same-engines", "rivals", "in-turns", "sizes", "machines"
    shown = fill(committed, dict.fromkeys(tables, str))
    assert "| engine | effort |" not in shown


def in_turns(title: str, *efforts: tuple[float, float]) -> list[Record]:
    engine = "service" if title == "robotoff-ann" else title
    about = {"logos": 7000, "engine": engine, "title": title}
    return [about | {"effort": f"ef {recall}", "recall": recall, "ms": [ms]} for recall, ms in efforts]


def test_engines_are_compared_at_equal_recall() -> None:
    ours = in_turns("robotoff-ann", (0.97, 1.0), (0.99, 2.0), (0.999, 3.0))
    rivals = in_turns("fast", (0.98, 3.0), (0.99, 5.0)) + in_turns("slow", (0.9, 1.0), (0.999, 90.0))
    rows = in_turns_table(ours + rivals).splitlines()[2:]
    assert rows[1] == "| 7,000 | 0.99 | 2.00 | 5.00, fast | 2.50 |"
    assert [row.split(" | ")[3].partition(", ")[2] for row in rows] == ["fast", "fast", "slow"]
    assert in_turns_table(ours) == in_turns_table([]) == NOTHING
