"""The benchmark of the service with Milvus beside the one with Annoy, at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import milvus
from tests.milvus.servers.lite import LiteServer


def test_it_asks_both_and_builds_again_while_it_asks(
    lite: LiteServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANN_MILVUS_URI", lite.uri)
    monkeypatch.setattr(milvus, "ROUNDS", 2)
    monkeypatch.setattr(milvus, "QUERIES_A_ROUND", 12)
    monkeypatch.setattr(milvus, "SECONDS_TO_GO_OVER", 0.0)
    output = tmp_path / "milvus.jsonl"
    result = CliRunner().invoke(
        milvus.main, ["--folder", str(tmp_path / "data"), "--logos", "1000", "--output", str(output)]
    )
    assert result.exit_code == 0, result.output
    record = json.loads(output.read_text())
    assert record["milvus: recall@10"] == 1.0  # exact
    for name in milvus.ENGINES:
        assert 0 < record[f"{name}: p50, ms"] <= record[f"{name}: p95, ms"]
    assert record["queries meanwhile"] > 20
    assert (record["of these failed"], record["of these short"]) == (0, 0)
