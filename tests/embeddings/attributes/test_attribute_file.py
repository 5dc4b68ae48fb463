"""The file of attributes: where it lies, and what is said when it is gone, foreign, damaged, full or read-only."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.attributes.copies import faults_of
from embeddings.errors import DamagedAttributesError, StoreFullError, StoreUnavailableError
from tests.index.samples import without_privileges

OPENERS = 4  # at once


def test_a_file_that_is_gone_or_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "attributes"
    with AttributeStore(tmp_path / "other") as other:
        other.merge({1: {"k": "other"}})
    with AttributeStore(path) as store:
        store.merge({1: {"k": "x"}})
        for name in itertools.chain(tmp_path.glob("attributes*")):
            name.rename(tmp_path / f"moved-{name.name}")
        for call in (lambda: store.get([1]), lambda: store.merge({2: {"k": "y"}})):
            with pytest.raises(StoreUnavailableError, match="is gone: put it back"):
                call()
        with ThreadPoolExecutor(1) as thread, pytest.raises(StoreUnavailableError):
            thread.submit(store.get, [1]).result()
        assert not path.exists()
        (tmp_path / "other").rename(path)
        assert store.get([1]) == {1: {"k": "other"}}


def test_many_may_make_the_file_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(OPENERS)

    def opened(path: Path) -> None:
        together.wait()
        AttributeStore(path).close()

    with ThreadPoolExecutor(OPENERS) as threads:
        for path in (tmp_path / str(number) for number in range(100)):
            for opening in [threads.submit(opened, path) for _ in range(OPENERS)]:
                opening.result()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "attributes"
    path.write_bytes(content)
    with pytest.raises(DamagedAttributesError, match="restore it from a backup, or move it away"):
        AttributeStore(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_or_a_later_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "attributes"
    AttributeStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(DamagedAttributesError, match="a later release"):
        AttributeStore(path)
    with sqlite3.connect(tmp_path / "foreign") as connection:
        connection.execute("CREATE TABLE key (key)")
    connection.close()
    with pytest.raises(DamagedAttributesError, match="another program"):
        AttributeStore(tmp_path / "foreign")


def test_damage_is_an_error_that_says_what_to_do_or_is_found_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "attributes"
    given = {logo_id: {"k": f"value {logo_id}"} for logo_id in range(1, 3000)}
    with AttributeStore(path) as store:
        store.merge(given)
    content = path.read_bytes()
    rng = np.random.default_rng(2)
    named = found = unused = 0
    for page in range(2, len(content) // 4096 + 1):
        spoilt = bytearray(content)
        spoilt[(page - 1) * 4096 : page * 4096] = rng.bytes(4096)
        path.write_bytes(spoilt)
        try:
            with AttributeStore(path) as store:
                if faults_of(store.database):
                    found += 1
                else:
                    unused += dict(store.items()) == given
        except DamagedAttributesError as error:
            assert "restore it from a backup" in str(error)
            named += 1
    assert named > 5
    assert named + found + unused == len(content) // 4096 - 1
    assert unused < 5


def test_wrong_counts_are_found_by_the_check(tmp_path: Path) -> None:
    with AttributeStore(tmp_path / "attributes") as store:
        store.merge({1: {"k": "x"}, 2: {"k": "y"}})
        with store.database.writing() as connection:
            connection.execute("UPDATE pair SET logos = 7 WHERE value = 'x'")
        assert faults_of(store.database) == ["7 logos are counted for k:x, but 1 have it"]
        with store.database.writing() as connection:
            connection.execute("DELETE FROM pair")
        assert faults_of(store.database) == [
            "an attribute of logo 1 has no value",
            "an attribute of logo 2 has no value",
        ]


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with AttributeStore(tmp_path / "attributes") as store:
        store.merge({1: {"k": "x"}})
        with store.database.reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        with store.database.writing() as connection:
            connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFullError, match="make room"):
            store.merge({logo_id: {"k": f"{logo_id}" * 9} for logo_id in range(2, 2000)})
        assert store.get([1, 2]) == {1: {"k": "x"}}
        with store.database.writing() as connection:
            connection.execute("PRAGMA max_page_count = 100000")
        store.merge({2: {"k": "x"}})


def test_a_file_that_may_not_be_written_is_an_error_of_the_room(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    AttributeStore(directory / "attributes").close()
    for path in (directory / "attributes", directory, tmp_path, tmp_path.parent):
        path.chmod(0o555)
    try:
        with without_privileges(), pytest.raises(StoreUnavailableError):
            AttributeStore(directory / "attributes")
    finally:
        tmp_path.parent.chmod(0o700)
        tmp_path.chmod(0o700)


def test_attributes_lie_beside_their_store() -> None:
    assert attributes_path(Path("/data/logos.hdf5")) == Path("/data/logos.hdf5.attributes")
