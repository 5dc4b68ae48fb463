"""The operator's commands, called as the shell calls them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from commands.shell import BUSY
from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.attributes.copies import faults_of
from embeddings.errors import ModelError
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from index import build
from index.distances.survey_file import read_survey
from index.files.build_lock import build_lock
from index.files.generations import list_generations
from index.files.manifest import read_manifest
from index.loading import load_index
from index.map.logo_map import FEWEST_LOGOS
from index.map.map_file import MAP_NAME, MapFile
from manage import COMMANDS, cli
from runtime.startup import prepare
from settings import Settings
from tests.embeddings.hostile_server import HostileServer
from tests.original_files import random_vectors, write_pair, write_store
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
STAMP = ModelStamp("efficientnet-b0", "d" * 64)
INDEX = "efficientnet-b0"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_maps: None) -> Run:
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(os, "setpriority", lambda *_: None)  # it would be that of the tests
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    path = tmp_path / "efficientnet-b0.hdf5"
    prepare_store(path, capacity=100, dim=1280, stamp=STAMP)
    with EmbeddingStore(path) as store:
        store.append(range(1, 31), random_vectors(30))
    return path


def damage_row(path: Path, row: int) -> None:
    with h5py.File(path) as file:
        offset = file["embedding"].id.get_offset()
    with path.open("r+b") as file:
        file.seek(offset + row * 1280 * 4)
        file.write(b"\xff\x01")


@pytest.mark.parametrize("command", [*COMMANDS])
def test_help_says_what_a_command_is_for(run: Run, command: str) -> None:
    assert command in run("--help").output
    answer = run(command, "--help")
    assert answer.exit_code == 0
    assert "--help" in answer.output


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

    monkeypatch.setattr(build, "survey", fail)
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


def test_original_store_is_migrated_by_a_build_and_refused_by_what_only_reads(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "efficientnet-b0.hdf5"
    write_store(path, [5, 6, 5], random_vectors(3))
    for command in (["stats"], ["verify"], ["generate-index", "--dry-run"]):
        answer = run(*command)
        assert answer.exit_code == 1
        assert "migrate-store" in answer.output
    assert not (tmp_path / "efficientnet-b0.original.hdf5").exists()
    assert run("generate-index", "--tree-count", "2").exit_code == 0
    with EmbeddingStore(path, writable=False) as store:
        assert sorted(store.ids()) == [5, 6]
    assert (tmp_path / "efficientnet-b0.original.hdf5").is_file()


def test_original_store_is_given_the_room_that_a_start_would_give_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANN_STORE_CAPACITY", "700")
    write_store(tmp_path / "efficientnet-b0.hdf5", [5, 6], random_vectors(2))
    assert run("migrate-store").exit_code == 0
    with EmbeddingStore(tmp_path / "efficientnet-b0.hdf5", writable=False) as store:
        assert store.capacity == 700


def test_pair_that_generations_hide_is_warned_of(
    run: Run, store_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run("generate-index", "--tree-count", "2")
    assert run("generate-index", str(tmp_path / INDEX), "--tree-count", "2").exit_code == 0
    assert "has generations, which are served instead" in caplog.text


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


def test_migrate_store_makes_room(run: Run, store_path: Path) -> None:
    answer = run("migrate-store", "--capacity", "500")
    assert answer.exit_code == 0, answer.output
    with EmbeddingStore(store_path, writable=False) as store:
        assert (store.capacity, len(store), store.stamp) == (500, 30, STAMP)
    answer = run("migrate-store", "--capacity", "10")
    assert answer.exit_code == 1
    assert "30" in answer.output


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


@pytest.fixture
def attributes(store_path: Path) -> Iterator[AttributeStore]:
    with AttributeStore(attributes_path(store_path)) as attributes:
        attributes.merge({logo_id: {"value": "ab"[logo_id % 2]} for logo_id in range(1, 21)})
        yield attributes


def test_attributes_go_into_a_backup_and_come_back(run: Run, attributes: AttributeStore, tmp_path: Path) -> None:
    backup = tmp_path / "backups" / "b.hdf5"
    backup.parent.mkdir()
    assert "b.hdf5.attributes holds the attributes of 20 logos" in run("backup", str(backup)).output
    attributes.merge({1: {"value": None}, 2: {"value": "changed"}, 25: {"value": "new"}})
    answer = run("restore", str(backup), "--replace")
    assert (answer.exit_code, "holds the attributes of 20 logos" in answer.output) == (0, True), answer.output
    assert attributes.get([1, 2, 25]) == {1: {"value": "b"}, 2: {"value": "a"}}


def test_a_backup_without_attributes_leaves_those_that_are_there(
    run: Run, attributes: AttributeStore, tmp_path: Path
) -> None:
    run("delete-logos", *map(str, range(3, 31)))
    run("backup", str(tmp_path / "b.hdf5"))
    (tmp_path / "b.hdf5.attributes").unlink()
    answer = run("restore", str(tmp_path / "b.hdf5"), "--replace")
    assert "those that are there stay" in answer.output
    assert attributes.get(range(1, 31)) == {1: {"value": "b"}, 2: {"value": "a"}}


def test_deleted_logos_lose_their_attributes_and_compact_removes_what_belongs_to_nobody(
    run: Run, attributes: AttributeStore
) -> None:
    assert run("delete-logos", "1", "2").exit_code == 0
    assert len(attributes) == 18
    attributes.merge({77: {"value": "nobody's" * 30}})
    assert run("compact").exit_code == 0
    assert attributes.logo_ids().tolist() == [*range(3, 21)]
    assert faults_of(attributes.database) == []


def test_stats_and_verify_tell_of_attributes(run: Run, attributes: AttributeStore) -> None:
    report = json.loads(run("stats", "--json").output)["attributes"]
    assert (report["logos"], report["keys"]) == (20, {"value": {"logos": 20, "values": 2}})
    assert "attributes" in run("stats").output.splitlines()
    assert "the attributes of 20 logos checked" in run("verify").output
    attributes.close()
    attributes.path.with_name(f"{attributes.path.name}-wal").unlink(missing_ok=True)
    attributes.path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    answer = run("verify")
    assert answer.exit_code == 1
    assert "hdf5.attributes is damaged" in answer.output


def test_stats_without_attributes_tell_of_none(run: Run, store_path: Path) -> None:
    assert json.loads(run("stats", "--json").output)["attributes"] is None
    assert "attributes" not in run("stats").output.splitlines()
    assert not attributes_path(store_path).exists()


def test_evaluate_measures_votes_on_logos_with_a_value(run: Run, store_path: Path) -> None:
    vectors = np.zeros((60, 1280), np.float32)
    values = {}
    for place in range(60):  # two groups far apart; one logo of each is labelled as the other
        vectors[place, :2] = (100 * (place % 2), place)
        if place < 40:
            values[101 + place] = {"value": "xy"[(place % 2) ^ (place in (10, 11))]}
    with EmbeddingStore(store_path) as store, AttributeStore(attributes_path(store_path)) as attributes:
        store.append(range(101, 161), vectors)
        attributes.merge(values)
    assert run("generate-index", "--tree-count", "20").exit_code == 0
    with EmbeddingStore(store_path) as store:
        store.delete([103])
    report = json.loads(run("evaluate", "--attribute", "value", "--k", "3", "--json").stdout)
    assert report["logos"] == 39
    assert 0.8 < report["accuracy"] < 1
    assert [(value["value"], value["logos"]) for value in report["values"]] == [("y", 20), ("x", 19)]
    assert sum(part["logos"] for part in report["reliability"]) <= 39
    of_all = run("evaluate", "--attribute", "value", "--k", "3", "--other-photos", "--json").stdout
    assert json.loads(of_all) == report  # no photo is known
    text = run("evaluate", "--attribute", "value", "--values", "1").output
    assert "39 logos have the attribute value, with 2 values" in text
    assert "and 1 more values" in text
    assert "0.9 to 1.0" in text


def test_logos_of_the_same_photo_do_not_vote_if_told_so(run: Run, store_path: Path) -> None:
    vectors = np.zeros((40, 1280), np.float32)
    vectors[:, 0] = np.arange(40)
    origins = [Provenance(f"http://photos.test/{place // 2}.jpg", (0, 0, 1, 1)) for place in range(40)]
    with EmbeddingStore(store_path) as store, AttributeStore(attributes_path(store_path)) as attributes:
        store.append(range(101, 141), vectors, origins)
        attributes.merge({101 + place: {"value": str(place // 2)} for place in range(40)})  # each photo has its own
    assert run("compact").exit_code == 0
    assert run("generate-index", "--tree-count", "20").exit_code == 0
    accuracies = [
        json.loads(run("evaluate", "--attribute", "value", "--k", "1", "--json", *options).stdout)["accuracy"]
        for options in ((), ("--other-photos",))
    ]
    assert accuracies[0] >= 0.5
    assert accuracies[1] == 0


def test_evaluate_of_an_attribute_that_no_logo_has_says_so(run: Run, store_path: Path) -> None:
    answer = run("evaluate", "--attribute", "value")
    assert answer.exit_code == 1
    assert "no indexed logo has the attribute 'value'" in answer.stderr


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


def test_deleting_logos_says_how_many_were_there(run: Run, store_path: Path, tmp_path: Path) -> None:
    answer = run("delete-logos", "3", "4", "99", "3")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == "deleted 2 logos\n"
    assert "1 were not stored: 99" in answer.stderr
    (tmp_path / "ids").write_text("5\n\n 6 \n")
    assert run("delete-logos", "--from", str(tmp_path / "ids")).stdout == "deleted 2 logos\n"
    with EmbeddingStore(store_path, writable=False) as store:
        assert store.ids().tolist() == [1, 2, *range(7, 31)]


def test_deleting_logos_refuses_what_is_no_id_before_it_deletes_any(run: Run, store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("5\nseven\n")
    answer = run("delete-logos", "1", "--from", str(tmp_path / "ids"))
    assert answer.exit_code == 2
    assert "line 2: 'seven' is not a logo id" in answer.stderr
    assert run("delete-logos").exit_code == 2
    assert run("delete-logos", "0").exit_code == 2
    with EmbeddingStore(store_path, writable=False) as store:
        assert len(store) == 30


def test_compact_frees_rows_and_grow_adds_some(run: Run, store_path: Path) -> None:
    run("delete-logos", "1", "2")
    assert run("compact").exit_code == 0
    with EmbeddingStore(store_path, writable=False) as store:
        assert (store.settled()[1].size, store.capacity) == (28, 100)
    assert run("grow", "150").exit_code == 0
    answer = run("grow", "150")
    assert answer.exit_code == 1
    assert "has room for 150 logos: name a larger number" in answer.stderr
    with EmbeddingStore(store_path, writable=False) as store:
        assert (len(store), store.capacity) == (28, 150)


def test_a_store_is_backed_up_repaired_from_it_and_restored(run: Run, store_path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "b.hdf5"
    assert "b.hdf5 holds 30 logos; 30 rows were copied" in run("backup", str(backup)).output
    assert "holds 30 logos; 0 rows were copied" in run("backup", str(backup)).output
    damage_row(store_path, 7)
    answer = run("repair", "--backup", str(backup))
    assert answer.exit_code == 0, answer.output
    assert "moved 1 damaged rows aside, of logos 8" in answer.stdout
    assert "restored 1 logos from the backup" in answer.stdout
    assert run("verify").exit_code == 0
    run("delete-logos", "1")
    answer = run("restore", str(backup))
    assert answer.exit_code == 1
    assert "--replace" in answer.stderr
    answer = run("restore", str(backup), "--replace")
    assert answer.exit_code == 0, answer.output
    assert "kept as" in answer.stdout
    with EmbeddingStore(store_path, writable=False) as store:
        assert sorted(store.ids().tolist()) == [*range(1, 31)]


def test_damaged_rows_make_a_backup_and_a_restore_exit_with_1(run: Run, store_path: Path, tmp_path: Path) -> None:
    damage_row(store_path, 7)
    answer = run("backup", str(tmp_path / "b.hdf5"))
    assert answer.exit_code == 1
    assert "holds 29 logos" in answer.stdout
    assert "1 damaged rows were left out, of logos 8" in answer.stderr
    store_path.rename(tmp_path / "damaged.hdf5")
    assert run("restore", str(tmp_path / "damaged.hdf5")).exit_code == 1
    with EmbeddingStore(store_path, writable=False) as store:
        assert len(store) == 29


def test_repair_without_damage_and_backup_says_so(run: Run, store_path: Path) -> None:
    assert run("repair").stdout == "nothing is damaged\n"


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
    assert "one list of 32 logos, all scanned; records of 252 components" in told.output
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
