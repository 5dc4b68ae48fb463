"""`generate-index`, called as the shell calls it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands.shell import BUSY
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from index import build
from index.distances.survey_file import read_survey
from index.files.build_lock import build_lock
from index.files.generations import list_generations
from index.files.manifest import read_manifest, write_manifest
from index.loading import load_index
from index.map.logo_map import FEWEST_LOGOS
from index.map.map_file import MAP_NAME, MapFile
from tests.commands.conftest import Run, damage_row
from tests.original_files import random_vectors
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
STAMP = ModelStamp("efficientnet-b0", "d" * 64)
INDEX = "efficientnet-b0"


def test_generate_index_publishes_a_generation_and_keeps_two(run: Run, store_path: Path) -> None:
    index_dir = store_path.parent / INDEX
    for _ in range(3):
        assert run("generate-index", "--tree-count", "3").exit_code == 0
    generations = list_generations(index_dir)
    assert len(generations) == 2
    assert (index_dir / "current").resolve() == generations[-1].resolve()
    manifest = json.loads((index_dir / "current" / "index.json").read_text())
    assert (manifest["items"], manifest["trees"], manifest["weights_digest"]) == (30, 3, STAMP.digest)


def test_generate_index_draws_a_map_once_the_index_is_published(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "FEWEST_LOGOS", 30)
    assert run("generate-index").exit_code == 0
    monkeypatch.setenv("ANN_MAP_POINTS", "12")
    assert run("generate-index", "--keep", "3").exit_code == 0
    files = [MapFile.read(generation) for generation in list_generations(tmp_path / INDEX)]
    assert [file and file.points for file in files] == [30, 12]
    assert json.loads(run("stats", "--json").stdout)["indexes"][INDEX]["points_on_map"] == 12
    monkeypatch.setenv("ANN_MAP_POINTS", "0")
    assert run("generate-index").exit_code == 0
    assert MapFile.read(list_generations(tmp_path / INDEX)[-1]) is None
    assert json.loads(run("stats", "--json").stdout)["indexes"][INDEX]["points_on_map"] is None


def test_a_small_index_has_no_map(run: Run, store_path: Path, tmp_path: Path) -> None:
    with EmbeddingStore(store_path) as store:
        store.append(list(range(31, FEWEST_LOGOS)), random_vectors(FEWEST_LOGOS - 31, seed=8))
        assert run("generate-index").exit_code == 0
        store.append([FEWEST_LOGOS], random_vectors(1, seed=9))
    assert run("generate-index").exit_code == 0
    small, large = (MapFile.read(generation) for generation in list_generations(tmp_path / INDEX))
    assert (small, large and large.points) == (None, FEWEST_LOGOS)


def test_a_map_that_cannot_be_drawn_fails_no_build(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no memory left")

    monkeypatch.setattr(build, "FEWEST_LOGOS", 30)
    monkeypatch.setattr(build, "add_map", fail)
    assert run("generate-index").exit_code == 0
    (generation,) = list_generations(tmp_path / INDEX)
    assert "has no map" in caplog.text
    assert "no memory left" in caplog.text
    assert load_index(tmp_path / INDEX / "current", dim=1280).trees == 100
    assert MapFile.read(generation) is None


def test_generate_index_measures_distances_unless_told_not_to(run: Run, store_path: Path, tmp_path: Path) -> None:
    with EmbeddingStore(store_path) as store:
        twin = store.vectors(np.array([1]))
        store.append([31], twin)
    assert run("generate-index").exit_code == 0
    found = read_survey(list_generations(tmp_path / INDEX)[-1])
    assert found is not None
    assert (found.pairs.logo_ids[0].tolist(), found.pairs.distances[0]) == ([1, 31], 0)
    assert (found.searched, len(found.any_two)) == (31, 101)
    assert run("generate-index", "--compare", "0").exit_code == 0
    assert read_survey(list_generations(tmp_path / INDEX)[-1]) is None


def test_distances_that_cannot_be_measured_fail_no_build(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no memory left")

    monkeypatch.setattr("index.distances.survey.survey", fail)
    assert run("generate-index").exit_code == 0
    assert "has no survey of distances" in caplog.text
    assert len(load_index(tmp_path / INDEX / "current", dim=1280)) == 30


def test_verify_names_a_damaged_map(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "FEWEST_LOGOS", 30)
    run("generate-index")
    (generation,) = list_generations(tmp_path / INDEX)
    (generation / MAP_NAME).write_bytes(b"damaged")
    result = run("verify")
    assert result.exit_code == 1
    assert MAP_NAME in result.output
    assert json.loads(run("stats", "--json").stdout)["indexes"][INDEX]["points_on_map"] is None


def test_generate_index_writes_the_original_pair_at_output(run: Run, store_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere" / "index"
    answer = run("generate-index", str(output), "--tree-count", "3")
    assert answer.exit_code == 0, answer.output
    assert sorted(path.name for path in output.iterdir() if not path.name.startswith(".")) == ["index.bin", "index.txt"]
    assert (output / "index.txt").read_text().split() == [str(logo_id) for logo_id in range(1, 31)]
    assert not (tmp_path / INDEX).exists()


def test_a_seed_gives_the_same_bytes_each_time(run: Run, store_path: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "other"):
        assert run("generate-index", str(tmp_path / name), "--seed", "5").exit_code == 0
        digests.add(hashlib.sha256((tmp_path / name / "index.bin").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_generate_index_can_name_another_index(run: Run, store_path: Path, tmp_path: Path) -> None:
    assert run("generate-index", "--index", "brands", "--tree-count", "2").exit_code == 0
    assert (tmp_path / "brands" / "current" / "index.bin").is_file()
    assert run("generate-index", "--index", "../brands").exit_code == 2


def test_dry_run_builds_nothing(run: Run, store_path: Path, tmp_path: Path) -> None:
    answer = run("generate-index", "--dry-run")
    assert "would index 30 logos" in answer.output
    assert not (tmp_path / INDEX).exists()


def test_empty_store_is_nothing_to_index_and_no_failure(run: Run, tmp_path: Path) -> None:
    prepare_store(tmp_path / "efficientnet-b0.hdf5", capacity=10, dim=1280, stamp=STAMP)
    assert run("generate-index").exit_code == 0
    assert not (tmp_path / INDEX / "current").exists()


def test_missing_store_is_a_failure_in_one_line(run: Run, tmp_path: Path) -> None:
    for command in ("generate-index", "stats", "verify", "migrate-store"):
        answer = run(command)
        assert answer.exit_code == 1
        assert answer.output.count("\n") == 1
        assert str(tmp_path) in answer.output


def test_second_build_is_told_to_come_back(run: Run, store_path: Path, tmp_path: Path) -> None:
    (tmp_path / INDEX).mkdir()
    with build_lock(tmp_path / INDEX / ".generate.lock", wait=True):
        answer = run("generate-index", "--no-wait")
    assert answer.exit_code == BUSY
    assert "another build" in answer.output


def test_two_builds_at_once_both_succeed(store_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "manage.py"), "generate-index", "--tree-count", "3"]
    environment = {"ANN_DATA_DIR": str(tmp_path), "PATH": ""}
    builds = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [build.wait(PATIENCE) for build in builds] == [0, 0]
    assert len(list_generations(tmp_path / INDEX)) == 2


def test_damaged_row_is_left_out_and_exits_with_1(run: Run, store_path: Path, tmp_path: Path) -> None:
    damage_row(store_path, 4)
    answer = run("generate-index", "--tree-count", "2")
    assert answer.exit_code == 1
    assert "1 damaged" in answer.output
    ids = (tmp_path / INDEX / "current" / "index.txt").read_text().split()
    assert len(ids) == 29
    assert "5" not in ids


def test_pair_that_generations_hide_is_warned_of(
    run: Run, store_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run("generate-index", "--tree-count", "2")
    assert run("generate-index", str(tmp_path / INDEX), "--tree-count", "2").exit_code == 0
    assert "has generations, which are served instead" in caplog.text


def test_a_build_steps_back_for_queries(run: Run, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "setpriority", lambda *arguments: asked.append(arguments))
    for niceness in (5, 15):
        monkeypatch.setattr(os, "getpriority", lambda *_, of_caller=niceness: of_caller)
        assert run("generate-index", "--dry-run").exit_code == 0
    assert asked == [(os.PRIO_PROCESS, 0, 10)]


def test_a_large_store_gets_an_index_of_lists(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run("generate-index", "--dry-run")
    assert "100 trees over the vectors of 30 logos, because there are fewer" in told.output
    monkeypatch.setattr("index.build.LISTS_FROM", 30)
    with EmbeddingStore(store_path) as store:
        store.append([31, 32], random_vectors(2))

    told = run("generate-index", "--dry-run")
    assert "one list of 32 logos, all scanned; codes of 192 components and records of 440" in told.output
    assert "because there are fewer than 200,000" in told.output
    assert run("generate-index").exit_code == 0

    manifest = read_manifest(tmp_path / INDEX / "current")
    assert (manifest.items, manifest.trees) == (32, 12)
    assert manifest.lists is not None
    stats = json.loads(run("stats", "--json").stdout)["indexes"][INDEX]
    assert (stats["logos"], stats["error"]) == (32, None)
    assert stats["recall_at_10"] == 1.0
    assert "good" in run("verify").output
    with EmbeddingStore(store_path) as store:
        index = load_index(tmp_path / INDEX / "current", dim=1280, vectors=store.vectors, digests=True)
        assert index.nearest_to_logo(31, 5).logo_ids[0] == 31


def test_the_next_index_begins_with_the_effort_of_the_published_one(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.build.LISTS_FROM", 20)
    current = tmp_path / INDEX / "current"
    assert run("generate-index").exit_code == 0
    manifest = read_manifest(current)
    assert manifest.lists is not None
    effort = replace(manifest.lists.effort, spare=77)
    write_manifest(current.resolve(), replace(manifest, lists=replace(manifest.lists, effort=effort)))

    for options, expected in (([], 77), (["--fresh"], manifest.lists.effort.spare)):
        assert run("generate-index", *options).exit_code == 0
        lists = read_manifest(current).lists
        assert lists is not None
        assert lists.effort.spare == expected

    (current / "index.json").write_text("{")
    assert run("generate-index").exit_code == 0


@pytest.mark.parametrize(("options", "in_lists"), [([], True), (["--no-reduce"], False)])
def test_the_operator_chooses_the_index(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], in_lists: bool
) -> None:
    monkeypatch.setattr("index.build.LISTS_FROM", 30)
    assert run("generate-index", *options, "--tree-count", "7").exit_code == 0
    manifest = read_manifest(tmp_path / INDEX / "current")
    assert (manifest.lists is not None) == in_lists
    assert manifest.trees == 7
    assert manifest.recall is not None


def test_damaged_rows_are_left_out_of_an_index_and_told(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.build.LISTS_FROM", 20)
    damage_row(store_path, 3)
    for _ in range(2):  # the second uses what the first kept
        result = run("generate-index")
        assert result.exit_code == 1
        assert "1 damaged rows were left out" in result.output
        assert read_manifest(tmp_path / INDEX / "current").items == 29
