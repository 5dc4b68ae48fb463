"""Every engine against exact search, at a size that takes seconds; engines that are not installed are skipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.results import append, read
from benchmarks.rivals import __main__ as command
from benchmarks.rivals.measurement import measure
from benchmarks.rivals.registry import ENGINES, missing_packages
from benchmarks.rivals.vectors import VectorFiles, nearest
from index.exact import ExactIndex

SMALL_DIM = 16
FULL_DIM = ("service",)  # its store takes what the embedder gives


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.filterwarnings("ignore")  # of the rivals' own
def test_an_engine_finds_the_true_neighbours_with_its_last_effort(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := missing_packages(name):
        pytest.skip(f"not installed: {', '.join(missing)} (requirements-bench.txt)")
    monkeypatch.setattr("benchmarks.rivals.measurement.hold_to_one_core", lambda: None)
    monkeypatch.setattr(ENGINES[name], "efforts", ENGINES[name].efforts[-1:])
    if name in FULL_DIM:
        files = VectorFiles.draw(tmp_path, 300, queries=5, seed=1)
    else:
        vectors = np.random.default_rng(1).standard_normal((600, SMALL_DIM), np.float32)
        files = VectorFiles.copy(tmp_path, vectors, queries=5, seed=1)
    folder = tmp_path / "engine"
    folder.mkdir()
    of_ten, of_hundred = measure(name, files, folder, seconds=0)
    assert of_ten.recall >= 0.9
    assert of_hundred.recall >= 0.9
    assert of_ten.queries_a_second > 0
    assert of_ten.build_seconds >= 0
    assert (of_ten.disk_bytes > 0) == (name != "exact")


def test_the_truth_is_that_of_exact_search() -> None:
    vectors = 50 + np.random.default_rng(2).standard_normal((300, 40), np.float32)
    found = nearest(vectors, vectors[:4], 20)
    exact = ExactIndex(np.arange(1, 301), vectors)
    for query, rows in enumerate(found):
        assert (rows + 1).tolist() == exact.nearest_to_logo(query + 1, 20).logo_ids


def test_engines_are_measured_in_processes_of_their_own(tmp_path: Path) -> None:
    output = tmp_path / "new" / "rivals.jsonl"
    arguments = ["--logos", "200", "--queries", "3", "--seconds", "0", "--engine", "exact", "--output", str(output)]
    ran = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    of_ten, of_hundred = read(output)
    assert of_ten["recall"] == of_hundred["recall"] == 1
    assert of_ten["data"] == "drawn"
    assert of_ten["logos"] == 200
    assert "numpy" in of_ten["versions"]


def test_a_rival_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINES["exact"], "packages", ("no-such-package",))
    arguments = ["--logos", "100", "--engine", "exact", "--output", str(tmp_path / "rivals.jsonl")]
    ran = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    assert "no-such-package" in ran.stderr
    ran = CliRunner().invoke(command.main, [*arguments, "--require-all"])
    assert ran.exit_code == 1
    assert "requirements-bench.txt" in ran.stderr


def test_what_does_not_fit_into_memory_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINES["exact"], "held_bytes_a_value", 1e12)
    arguments = ["--logos", "100", "--engine", "exact", "--output", str(tmp_path / "rivals.jsonl")]
    ran = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert "more than there is" in ran.stderr
    assert read(tmp_path / "rivals.jsonl") == []


def test_sizes_are_given_one_way(tmp_path: Path) -> None:
    ran = CliRunner().invoke(command.main, ["--logos", "100", "--up-to", "1000"])
    assert ran.exit_code == 2
    assert "one of" in ran.stderr


def test_the_last_of_like_results_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append(path, [{"engine": "a", "recall": 1}, {"engine": "b", "recall": 2}])
    append(path, [{"engine": "a", "recall": 3}])
    assert len(read(path)) == 3
    assert [record["recall"] for record in read(path, ["engine"])] == [3, 2]
    assert json.loads(path.read_text().splitlines()[0]) == {"engine": "a", "recall": 1}
