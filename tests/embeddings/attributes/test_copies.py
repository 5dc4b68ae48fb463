"""Attributes are backed up while they are in use, and come back whole."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest

from embeddings.attributes.attribute_store import AttributeStore
from embeddings.attributes.copies import back_up_attributes, faults_of, restore_attributes
from embeddings.attributes.filters import Condition
from embeddings.attributes.matching import MatchingLogos
from embeddings.errors import BackupError, DamagedAttributesError, StoreUnavailableError
from tests.index.samples import killed_before_each_step

GIVEN = {logo_id: {"type": "brand", "value": f"v{logo_id % 7}"} for logo_id in range(1, 100)}


def filled(path: Path) -> AttributeStore:
    store = AttributeStore(path)
    store.merge(GIVEN)
    return store


def attributes_in(path: Path) -> dict[int, dict[str, str]]:
    with AttributeStore(path) as store:
        assert faults_of(store.database) == []
        return dict(store.items())


def test_a_backup_is_one_file_that_holds_all_of_a_store_in_use(tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    target = tmp_path / "copies" / "backup"
    with filled(tmp_path / "a") as store:
        back_up_attributes(store.database, target)
        store.merge({500: {"type": "late"}})
        restore_attributes(target, tmp_path / "first")
        back_up_attributes(store.database, target)
    assert {path.name for path in target.parent.iterdir()} == {"backup", "backup.partial.lock"}
    assert attributes_in(tmp_path / "first") == GIVEN
    assert attributes_in(target) == {**GIVEN, 500: {"type": "late"}}


def test_a_service_goes_on_with_what_was_restored(tmp_path: Path) -> None:
    with filled(tmp_path / "a") as store:
        matching = MatchingLogos(store)
        brands, labels = Condition("type", "brand"), Condition("type", "label")
        back_up_attributes(store.database, tmp_path / "backup")
        store.merge({500: {"type": "brand"}, 501: {"type": "label"}})
        assert len(matching.ids([brands])) == 100
        assert matching.ids([labels]).tolist() == [501]
        before = store.change()
        assert restore_attributes(tmp_path / "backup", tmp_path / "a") is None
        assert store.get([1, 500]) == {1: GIVEN[1]}
        assert store.change() > before
        store.merge({600: {"type": "brand"}})  # the same value, changed again: what is known of it is still too old
        assert matching.ids([brands]).tolist() == [*range(1, 100), 600]
        assert matching.ids([labels]).tolist() == []


def test_a_damaged_file_is_kept_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with filled(path) as store:
        back_up_attributes(store.database, tmp_path / "backup")
    path.write_bytes(b"rubbish" * 1000)
    Path(f"{path}-wal").write_bytes(b"of the rubbish")
    kept = restore_attributes(tmp_path / "backup", path)
    assert kept is not None
    assert kept.read_bytes().startswith(b"rubbish")
    assert attributes_in(path) == GIVEN


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000])
def test_what_is_no_backup_is_neither_replaced_nor_restored(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "other"
    other.write_bytes(content)
    with filled(tmp_path / "a") as store:
        with pytest.raises(BackupError, match="is no backup of attributes"):
            back_up_attributes(store.database, other)
        with pytest.raises(BackupError, match="is no backup of attributes"):
            restore_attributes(other, tmp_path / "a")
        with pytest.raises(BackupError, match="is the file to back up"):
            back_up_attributes(store.database, tmp_path / "a")
        with pytest.raises(StoreUnavailableError, match="cannot open"):
            restore_attributes(tmp_path / "missing", tmp_path / "a")
        assert dict(store.items()) == GIVEN
    assert other.read_bytes() == content


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    with filled(tmp_path / "a") as store:
        back_up_attributes(store.database, tmp_path / "backup")
        content = bytearray((tmp_path / "backup").read_bytes())
        content[3 * 4096 : 4 * 4096] = b"\xff" * 4096
        (tmp_path / "backup").write_bytes(content)
        with pytest.raises((BackupError, DamagedAttributesError)):
            restore_attributes(tmp_path / "backup", tmp_path / "a")
        assert dict(store.items()) == GIVEN


def test_a_store_that_is_damaged_is_not_backed_up_over_a_good_backup(tmp_path: Path) -> None:
    with filled(tmp_path / "a") as store:
        back_up_attributes(store.database, tmp_path / "backup")
        with store.database.writing() as connection:
            connection.execute("UPDATE pair SET logos = 3")
        with pytest.raises(BackupError, match="was copied wrongly: 3 logos are counted"):
            back_up_attributes(store.database, tmp_path / "backup")
    assert attributes_in(tmp_path / "backup") == GIVEN


def test_a_backup_killed_at_any_step_leaves_the_earlier_one_or_the_new(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with filled(home / "a") as store:
        back_up_attributes(store.database, home / "backup")
        store.merge({500: {"type": "late"}})
    steps = itertools.count()
    for _ in killed_before_each_step(home, lambda: run_backup(home)):
        assert attributes_in(home / "backup") in (GIVEN, {**GIVEN, 500: {"type": "late"}})
        run_backup(home)
        assert 500 in attributes_in(home / "backup")
        next(steps)
    assert next(steps) > 3


def run_backup(home: Path) -> None:
    with AttributeStore(home / "a") as store:
        back_up_attributes(store.database, home / "backup")


def test_a_restore_killed_at_any_step_leaves_all_of_before_or_all_of_after(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with filled(home / "a") as store:
        back_up_attributes(store.database, home / "backup")
        store.merge({500: {"type": "late"}})
    for _ in killed_before_each_step(home, lambda: restore_attributes(home / "backup", home / "a")):
        assert attributes_in(home / "a") in (GIVEN, {**GIVEN, 500: {"type": "late"}})
        restore_attributes(home / "backup", home / "a")
        assert attributes_in(home / "a") == GIVEN


def test_a_backup_can_be_read_by_any_sqlite(tmp_path: Path) -> None:
    with filled(tmp_path / "a") as store:
        back_up_attributes(store.database, tmp_path / "backup")
    connection = sqlite3.connect(tmp_path / "backup")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("SELECT count(*) FROM attribute").fetchone() == (2 * len(GIVEN),)
    connection.close()
