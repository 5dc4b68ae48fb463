"""What the commands do with attributes and votes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.attributes.copies import faults_of
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from tests.commands.conftest import Run


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
    assert "those of its logos stay" in answer.output
    assert attributes.get(range(1, 31)) == {1: {"value": "b"}, 2: {"value": "a"}}


def test_a_restore_keeps_the_former_attributes_beside_the_former_store(
    run: Run, attributes: AttributeStore, tmp_path: Path
) -> None:
    backup = tmp_path / "b.hdf5"
    run("backup", str(backup))
    attributes.merge({1: {"value": "set since"}})
    answer = run("restore", str(backup), "--replace")
    found = re.search(r"the previous store is kept as (\S+)", answer.output)
    assert found is not None, answer.output
    with AttributeStore(attributes_path(Path(found[1]))) as former:
        assert former.get([1, 2]) == {1: {"value": "set since"}, 2: {"value": "a"}}
    assert attributes.get([1]) == {1: {"value": "b"}}


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
