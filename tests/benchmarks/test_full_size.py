"""The benchmark of the whole service at one size, here a tiny one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import full_size
from benchmarks.page import NOTHING, full_size_table


def test_it_measures_builds_queries_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # nobody who may drop the page cache
    monkeypatch.setattr(full_size, "QUERIES", 20)
    output = tmp_path / "full_size.jsonl"
    result = CliRunner().invoke(
        full_size.main, ["--folder", str(tmp_path / "data"), "--logos", "1000", "--output", str(output)]
    )
    assert result.exit_code == 0, result.output
    record = json.loads(output.read_text())
    assert record["logos"] == 1000
    assert 0 < record["count=100: p50, ms"] <= record["count=100: p95, ms"]
    assert record["build again, s"] > 0
    assert 0.9 < record["recall@10"] <= 1
    assert record["resident, MB"] > 10
    assert "cold: p50, ms" not in record
    assert "| recall@10 | " in full_size_table([record])


def test_a_page_without_results_says_so() -> None:
    assert full_size_table([]) == NOTHING
