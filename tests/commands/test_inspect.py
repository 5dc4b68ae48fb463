"""What the commands tell an operator: help, wrong settings, `stats`, `verify`, `export-model`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embeddings.errors import ModelError
from manage import COMMANDS
from runtime.startup import prepare
from settings import Settings
from tests.commands.conftest import Run, damage_row
from tests.embeddings.hostile_server import HostileServer
from tests.original_files import random_vectors, write_pair

INDEX = "efficientnet-b0"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", [*COMMANDS])
def test_help_says_what_a_command_is_for(run: Run, command: str) -> None:
    assert command in run("--help").output
    answer = run(command, "--help")
    assert answer.exit_code == 0
    assert "--help" in answer.output


def test_wrong_setting_is_a_failure_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANN_THREADS", "many")
    answer = run("stats")
    assert (answer.exit_code, answer.output.count("\n")) == (1, 1)
    assert "ANN_THREADS='many'" in answer.output


def test_unknown_variable_is_warned_of_once(
    run: Run, store_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ANN_DATADIR", "elsewhere")
    assert run("stats").exit_code == 0
    warned = [record.getMessage() for record in caplog.records if "ANN_DATADIR" in record.getMessage()]
    assert warned == ["ANN_DATADIR is set, but there is no such setting; did you mean ANN_DATA_DIR?"]


def test_unreadable_directory_is_named_and_ends_nothing(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "secret").mkdir()
    assert run("verify").exit_code == 0

    def refuse(index_dir: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(index_dir))

    monkeypatch.setattr("index.files.audit.list_generations", refuse)
    monkeypatch.setattr("commands.report.list_generations", refuse)
    answer = run("verify")
    assert answer.exit_code == 1
    assert "secret cannot be read: Permission denied" in answer.output
    assert json.loads(run("stats", "--json").output)["indexes"][INDEX]["generations"] == []


def test_stats_tell_of_store_and_indexes(run: Run, store_path: Path) -> None:
    run("generate-index", "--tree-count", "3")
    report = json.loads(run("stats", "--json").output)
    assert report["store"]["logos"] == 30
    assert report["store"]["capacity"] == 100
    assert report["store"]["model"] == "efficientnet-b0"
    index = report["indexes"][INDEX]
    assert (index["logos"], index["logos_not_indexed"], index["trees"]) == (30, 0, 3)
    assert index["generations"] == [index["serving"]]
    assert index["bytes_on_disk"] > 30 * 1280 * 4
    text = run("stats").output
    assert "logos" in text
    assert "30" in text


def test_stats_do_not_log_to_the_output_of_programs(run: Run, store_path: Path) -> None:
    assert json.loads(run("stats", "--json").stdout)["indexes"][INDEX]["logos"] == 0


def test_verify_finds_all_well(run: Run, store_path: Path, tmp_path: Path) -> None:
    run("generate-index", "--tree-count", "2")
    write_pair(tmp_path / "brands", [1, 2, 3], random_vectors(3))
    answer = run("verify")
    assert answer.exit_code == 0, answer.output
    assert "30 logos checked" in answer.output
    assert answer.output.count("good") == 2


def test_verify_names_what_is_damaged(run: Run, store_path: Path, tmp_path: Path) -> None:
    run("generate-index", "--tree-count", "2")
    write_pair(tmp_path / "brands", [1, 2, 3], random_vectors(3))
    damage_row(store_path, 7)
    current = tmp_path / INDEX / "current" / "index.bin"
    content = bytearray(current.read_bytes())
    content[100] ^= 1  # inside a vector: only the digest can tell
    current.write_bytes(content)
    (tmp_path / "brands" / "index.txt").write_text("1\n2\n")
    answer = run("verify")
    assert answer.exit_code == 1
    assert "row 7, logo 8" in answer.output
    assert "generations" in answer.output
    assert "brands" in answer.output
    assert "3 damages found" in answer.output


def test_export_model_of_nothing_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    answer = run("export-model", "--weights", str(tmp_path / "none.h5"))
    assert answer.exit_code == 1
    assert "none.h5" in answer.output


def test_weights_that_the_mirror_lacks_end_the_export_and_the_start_with_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANN_MODEL", "efficientnet-b0")
    monkeypatch.setenv("ANN_WEIGHTS", "imagenet")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HostileServer() as mirror:
        monkeypatch.setenv("ANN_WEIGHTS_URL", mirror.url("/mirror"))
        answer = run("export-model")
        with pytest.raises(ModelError) as caught:
            prepare(Settings.from_env())
    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1] == f"Error: {caught.value}"
    assert f"were not downloaded from {mirror.url('/mirror/efficientnet-b0_weights_tf')}" in str(caught.value)
    assert f"put it at {tmp_path}/.models/downloads/efficientnet-b0_weights_tf" in str(caught.value)
    assert len(mirror.requests) == 2


def test_progress_is_a_bar_on_a_terminal(run: Run, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.shell._on_a_terminal", lambda: True)
    assert "reading logos" in run("generate-index", "--tree-count", "2").stderr


def test_a_reader_that_has_seen_enough_is_no_error(store_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody_reads:
        ran = subprocess.run(
            [sys.executable, "manage.py", "stats"],
            cwd=ROOT,
            env=os.environ | {"ANN_DATA_DIR": str(store_path.parent)},
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ran.returncode, "Error" in ran.stderr) == (1, False), ran.stderr
