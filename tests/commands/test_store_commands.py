"""The commands that change the store: migrate, delete logos, compact, grow, back up, repair and restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from tests.commands.conftest import Run, damage_row
from tests.original_files import random_vectors, write_store

STAMP = ModelStamp("efficientnet-b0", "d" * 64)


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


def test_migrate_store_makes_room(run: Run, store_path: Path) -> None:
    answer = run("migrate-store", "--capacity", "500")
    assert answer.exit_code == 0, answer.output
    with EmbeddingStore(store_path, writable=False) as store:
        assert (store.capacity, len(store), store.stamp) == (500, 30, STAMP)
    answer = run("migrate-store", "--capacity", "10")
    assert answer.exit_code == 1
    assert "30" in answer.output


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
