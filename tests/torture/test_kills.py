"""Short forms of `python -m torture kills` and `processes`, and proof that they see what a worse store would lose.

The worse stores exist in the killed processes only; what judges them is the product as it is.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import embeddings.maintenance.backup
import embeddings.maintenance.compaction
import embeddings.maintenance.migration
import embeddings.maintenance.repair
import embeddings.maintenance.rewrite
import embeddings.store.live_rows
import embeddings.store.writer
import torture.kills
from embeddings.store.deletions import DeletionLog
from embeddings.store.hdf5_file import lay_out
from embeddings.store.id_table import KnownRows
from embeddings.store.live_rows import LiveRows
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from embeddings.store.writer_lock import writer_lock
from torture.kill_contention import contend
from torture.kill_holders import Holding
from torture.kill_rounds import kill_children
from torture.kill_writers import Stage
from torture.kills import STAGES, Killed, clean_processes, kill, kills
from torture.report import Finding

KILLS = 12
KILLS_TO_FIND_IT = 3000
patch = pytest.MonkeyPatch().setattr  # for good: it is called in processes that are going to be killed


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with clean_processes() as processes:
        yield processes


@pytest.mark.parametrize("name", STAGES)
def test_what_killed_processes_were_told_is_there(tmp_path: Path, processes: ProcessPoolExecutor, name: str) -> None:
    killed = processes.submit(kill, name, KILLS, 1, tmp_path).result()
    assert killed.finding.losses == []
    assert killed.finding.tried >= KILLS
    assert any(asked for _, asked, _ in killed.moments)


def test_many_processes_lose_nothing_and_see_each_other(tmp_path: Path, processes: ProcessPoolExecutor) -> None:
    findings = processes.submit(contend, 1, 1, tmp_path).result()
    assert [finding.losses for finding in findings] == [[]] * 4
    assert all(finding.tried for finding in findings)


def test_the_command_tells_what_it_did(tmp_path: Path) -> None:
    result = CliRunner().invoke(kills, ["--kills", "2", "--only", "create", "--seed", "3", "--dir", str(tmp_path)])
    assert result.exit_code == 0
    assert "| killed: create | 6 kills | 0 |" in result.output


def test_a_loss_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(name: str, *_: Any) -> Killed:
        return Killed(Finding(name, 1, "kills", [f"{name}: lost [7]"]), Counter())

    monkeypatch.setattr(torture.kills, "clean_processes", ThreadPoolExecutor)
    monkeypatch.setattr(torture.kills, "kill", lose)
    result = CliRunner().invoke(kills, ["--only", "create", "--only", "append and delete"])
    assert result.exit_code == 1
    assert "create: lost [7]" in result.output
    assert "append and delete: lost [7]" in result.output


def on_a_slow_disk() -> None:
    """Make each sync take longer, so that more kills come between two steps that have one between them."""
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        time.sleep(0.001)
        real(fd)

    patch(os, "fdatasync", fdatasync)


def write_ids_before_content() -> None:
    patch(embeddings.store.live_rows, "StoreFile", IdsFirst)


def back_up_ids_before_content() -> None:
    patch(embeddings.maintenance.backup, "StoreFile", IdsFirst)


def back_up_deletions_first() -> None:
    open_copy = embeddings.maintenance.backup._open_copy

    def open_and_delete(path: Path, source: StoreFile, slots: NDArray[np.int64], *more: Any, **named: Any) -> Any:
        copy, held = open_copy(path, source, slots, *more, **named)
        embeddings.maintenance.backup._delete_rows(copy, slots)
        time.sleep(0.02)
        return copy, held

    patch(embeddings.maintenance.backup, "_open_copy", open_and_delete)


class IdsFirst(StoreFile):
    def write_content(self, first: int, ids: NDArray[np.int64], *rows: Any) -> None:
        self.write_ids(first, ids)
        time.sleep(0.02)
        super().write_content(first, ids, *rows)


def no_lock(path: Path) -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None) if path.name == "s.hdf5" else writer_lock(path)


def write_without_the_lock() -> None:
    on_a_slow_disk()
    patch(embeddings.store.writer, "writer_lock", no_lock)


def compact_without_the_lock() -> None:
    on_a_slow_disk()
    patch(embeddings.maintenance.compaction, "writer_lock", no_lock)


def answer_before_writing() -> None:
    put_off("append")


def replace_by_deleting_first() -> None:
    append = EmbeddingStore.append

    def delete_and_append(store: EmbeddingStore, ids: Any, *rows: Any, replace: bool = False) -> list[int]:
        stored = store.delete(ids) if replace else []
        return [logo_id for logo_id in append(store, ids, *rows) if logo_id not in stored]

    patch(EmbeddingStore, "append", delete_and_append)


def replace_without_provenance() -> None:
    append = EmbeddingStore.append

    def append_without(
        store: EmbeddingStore, ids: Any, embeddings: Any, provenance: Any = None, *, replace: bool = False
    ) -> list[int]:
        return append(store, ids, embeddings, None if replace else provenance, replace=replace)

    patch(EmbeddingStore, "append", append_without)


def answer_before_deleting() -> None:
    put_off("delete")


def put_off(operation: str) -> None:
    """Do an operation as the next one is asked for: who does it sees no difference, until it is killed."""
    late: list[Callable[[], object]] = []

    def catching_up(name: str) -> None:
        real = getattr(EmbeddingStore, name)

        def answer(store: EmbeddingStore, ids: Sequence[int], *more: Any) -> list[int]:
            while late:
                late.pop()()
            if name != operation:
                return list(real(store, ids, *more))
            late.append(lambda: real(store, ids, *more))
            return [logo_id for logo_id in ids if (logo_id in store) == (name == "delete")]

        patch(EmbeddingStore, name, answer)

    catching_up("append")
    catching_up("delete")


def forget_what_was_deleted() -> None:
    patch(DeletionLog, "write", lambda log, ids, **replaced: None)


def make_the_store_in_its_place() -> None:
    patch(embeddings.maintenance.rewrite, "create_store", lay_out)


def migrate_in_its_place() -> None:
    def lay_out_under_the_name(draft: Path, **layout: Any) -> None:
        path = draft.with_name("s.hdf5")
        lay_out(draft, **layout)
        path.rename(path.with_name("s.original.hdf5"))
        os.link(draft, path)

    read_records = embeddings.maintenance.migration._records

    def read_slowly(*rows: Any) -> Any:
        time.sleep(0.01)
        return read_records(*rows)

    patch(embeddings.maintenance.migration, "_records", read_slowly)
    patch(embeddings.maintenance.migration, "lay_out", lay_out_under_the_name)
    patch(embeddings.maintenance.migration, "keep", lambda file, path, label: path.with_name("s.original.hdf5"))


def unlink_before_renaming() -> None:
    replace = os.replace

    def unlink_first(source: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        time.sleep(0.05)
        replace(source, target)

    patch(os, "replace", unlink_first)


def overwrite_without_a_copy() -> None:
    patch(embeddings.maintenance.repair, "_keep_rows", lambda *_: None)


def keep_the_lock_in_death() -> None:
    @contextmanager
    def lock(path: Path) -> Iterator[Callable[[], None]]:
        held = path.with_name("held")
        with writer_lock(path) as check:
            while held.exists():
                time.sleep(0.001)
            held.touch()
            yield check
            held.unlink()

    patch(embeddings.store.writer, "writer_lock", lock)


def find_only_what_is_known() -> None:
    find = KnownRows.find

    def find_without_a_look(rows: LiveRows, logo_id: int) -> tuple[KnownRows, int | None]:
        known = rows.known()
        return known, find(known, logo_id)

    patch(LiveRows, "find", find_without_a_look)


def answer_from_an_old_list() -> None:
    ids = EmbeddingStore.ids
    lists: dict[int, NDArray[np.int64]] = {}
    patch(EmbeddingStore, "ids", lambda store: lists.setdefault(id(store), ids(store)))


class Impatient(Holding):
    seconds = 1.0


@pytest.mark.parametrize(
    ("stage", "sabotage", "loss"),
    [
        (Stage, write_ids_before_content, "damaged"),
        (Stage, write_without_the_lock, "lost|stored|deleted|damaged"),
        (Stage, answer_before_writing, "lost"),
        (Stage, answer_before_deleting, "back again"),
        (STAGES["replace"], replace_by_deleting_first, "lost"),
        (STAGES["replace"], replace_without_provenance, "lost the provenance"),
        (Impatient, keep_the_lock_in_death, "stops the others"),
        (STAGES["create"], make_the_store_in_its_place, "no store|not a store|another program|lock file|damaged"),
        (STAGES["migrate"], migrate_in_its_place, "lost|gone|draft|stored again"),
        (STAGES["compact"], compact_without_the_lock, "lost|stored|deleted|gone"),
        (STAGES["compact"], forget_what_was_deleted, "forgot"),
        (STAGES["back up"], back_up_ids_before_content, "damaged"),
        (STAGES["back up"], back_up_deletions_first, "lost"),
        (STAGES["restore"], unlink_before_renaming, "cannot open|is gone"),
        (STAGES["repair"], overwrite_without_a_copy, "not quarantined"),
    ],
)
def test_a_worse_store_is_found_out(
    tmp_path: Path, processes: ProcessPoolExecutor, stage: type[Stage], sabotage: Callable[[], None], loss: str
) -> None:
    work = processes.submit(kill_children, stage, KILLS_TO_FIND_IT, 1, tmp_path, sabotage, to_the_first_loss=True)
    assert any(re.search(loss, found) for found in work.result()[1])


@pytest.mark.parametrize(
    ("sabotage", "loss"),
    [
        (find_only_what_is_known, "not found by another process"),
        (answer_from_an_old_list, "a reader misses logos"),
        (write_without_the_lock, ""),
    ],
)
def test_a_store_that_does_not_see_other_processes_is_found_out(
    tmp_path: Path, processes: ProcessPoolExecutor, sabotage: Callable[[], None], loss: str
) -> None:
    findings = processes.submit(contend, 5, 1, tmp_path, sabotage).result()
    losses = [found for finding in findings for found in finding.losses]
    assert any(re.search(loss, found) for found in losses)
