"""What the model of a disk may keep and lose: tests of power cuts are only as good as this model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from random import Random

import pytest

from torture.disk_model import (
    DIRECTORY,
    SECTOR,
    Change,
    Disk,
    Operation,
    Rename,
    Sync,
    SyncDirectory,
    Tree,
    Truncate,
    Write,
    digest,
    file_losses,
    name_losses,
    random_losses,
    torn_losses,
)

FILE = 1
OTHER = 2


def disk_after(*operations: Operation) -> Disk:
    disk = Disk()
    for operation in operations:
        disk.do(operation)
    return disk


def with_file(*operations: Operation) -> Disk:
    """Return a disk with a durable file that holds `old`, after these operations."""
    made: list[Operation] = [Rename({"/a": FILE}), Write(FILE, 0, b"old"), Sync(FILE), SyncDirectory("/")]
    return disk_after(*made, *operations)


def trees(disk: Disk, losses: Iterable[list[Change]]) -> list[Tree]:
    return [disk.after(kept) for kept in losses]


def contents(disk: Disk, draws: int = 400) -> set[bytes | None]:
    """Return the possible contents of the file after a power cut, over all kinds of losses."""
    chance = Random(7)
    losses = itertools.chain(
        file_losses(disk.pending),
        name_losses(disk.pending),
        torn_losses(disk.pending, chance),
        itertools.islice(random_losses(disk.pending, chance), draws),
    )
    return {tree.get("/a") for tree in trees(disk, losses)}


def test_what_was_synced_is_in_every_state() -> None:
    disk = with_file(Write(FILE, 0, b"new"), Sync(FILE))
    assert disk.pending == []
    assert contents(disk) == {b"new"}


def test_an_unsynced_write_is_there_or_not() -> None:
    assert contents(with_file(Write(FILE, 0, b"new"))) == {b"old", b"new"}


def test_a_sync_of_one_file_says_nothing_of_another() -> None:
    assert contents(with_file(Write(FILE, 0, b"new"), Write(OTHER, 0, b"x"), Sync(OTHER))) == {b"old", b"new"}


def test_a_sync_keeps_only_what_was_written_before_it() -> None:
    disk = with_file(Write(FILE, 0, b"n"), Sync(FILE), Write(FILE, 2, b"w"))
    assert contents(disk) == {b"nld", b"nlw"}


def test_of_two_writes_the_later_may_be_there_alone_and_the_earlier_may_win() -> None:
    disk = with_file(Write(FILE, 0, b"NEW"), Write(FILE, 2, b"tx"))
    assert contents(disk, draws=0) == contents(disk) == {b"old", b"NEW", b"oltx", b"NEtx", b"NEWx"}


def test_a_write_is_torn_at_sectors_of_the_file_and_not_within() -> None:
    content = bytes(range(1, 256)) * 6
    write = Write(FILE, 100, content)
    pieces = [(piece.offset, len(piece.content)) for piece in write.sectors()]
    assert pieces == [(100, 412), (512, 512), (1024, 512), (1536, 94)]
    assert b"".join(piece.content for piece in write.sectors()) == content
    before, after = b"old".ljust(100 + len(content), b"\0"), b"old" + bytes(97) + content
    for found in contents(with_file(write)):
        assert found is not None
        padded = found.ljust(len(after), b"\0")
        for start in range(0, len(padded), SECTOR):
            sector = slice(start, start + SECTOR)
            assert padded[sector] in (before[sector], after[sector])


def test_every_set_of_the_sectors_of_a_write_is_seen() -> None:
    write = Write(FILE, 0, b"".join(bytes([65 + number]) * SECTOR for number in range(4)))
    found = contents(with_file(write))
    seen = {tuple(content[place * SECTOR : place * SECTOR + 1] for place in range(4)) for content in found if content}
    kept = {tuple(letter in (b"A", b"B", b"C", b"D") for letter in letters) for letters in seen}
    assert kept == set(itertools.product([True, False], repeat=4))


def test_a_truncate_is_there_or_not() -> None:
    assert contents(with_file(Truncate(FILE, 1))) == {b"old", b"o"}
    assert contents(with_file(Truncate(FILE, 5))) == {b"old", b"old\0\0"}


def test_a_new_name_is_durable_by_a_sync_of_its_directory_only() -> None:
    made: list[Operation] = [Rename({"/a": FILE}), Write(FILE, 0, b"x"), Sync(FILE)]
    assert contents(disk_after(*made)) == {None, b"x"}
    assert contents(disk_after(*made, SyncDirectory("/elsewhere"))) == {None, b"x"}
    assert contents(disk_after(*made, SyncDirectory("/"))) == {b"x"}


def test_a_named_file_that_was_not_synced_may_be_empty() -> None:
    assert contents(disk_after(Rename({"/a": FILE}), Write(FILE, 0, b"x"), SyncDirectory("/"))) == {b"", b"x"}


def test_a_rename_is_one_step() -> None:
    disk = with_file(Rename({"/b": OTHER}), Write(OTHER, 0, b"new"), Sync(OTHER), SyncDirectory("/"))
    disk.do(Rename({"/b": None, "/a": OTHER}))
    found = trees(disk, [*name_losses(disk.pending), *itertools.islice(random_losses(disk.pending, Random(1)), 50)])
    assert {tuple(tree.items()) for tree in found} == {
        (("/a", b"old"), ("/b", b"new")),
        (("/a", b"new"),),
    }


def test_a_rename_between_directories_is_durable_by_either() -> None:
    for directory in ("/", "/d"):
        disk = disk_after(Rename({"/d": DIRECTORY}), SyncDirectory("/"), Rename({"/a": FILE}))
        disk.do(Rename({"/a": None, "/d/b": FILE}))
        disk.do(SyncDirectory(directory))
        assert disk.pending == []
        assert disk.after([]) == {"/d": None, "/d/b": b""}


def test_a_later_name_may_be_durable_without_an_earlier_one() -> None:
    disk = disk_after(Rename({"/a": FILE}), Rename({"/b": OTHER}), Rename({"/a": None}))
    names = {tuple(tree) for tree in trees(disk, itertools.islice(random_losses(disk.pending, Random(1)), 300))}
    assert names == {(), ("/a",), ("/b",), ("/a", "/b")}


def test_a_file_in_a_directory_that_is_lost_is_lost() -> None:
    disk = disk_after(Rename({"/d": DIRECTORY}), Rename({"/d/a": FILE}), Sync(FILE), SyncDirectory("/d"))
    assert trees(disk, file_losses(disk.pending))[:2] == [{}, {"/d": None, "/d/a": b""}]


def test_each_pending_change_is_left_out_and_kept_alone() -> None:
    changes: list[Operation] = [Write(FILE, place, bytes([65 + place])) for place in range(4)]
    found = contents(with_file(*changes), draws=0)
    assert {b"old", b"ABCD", b"oBCD", b"ABC", b"Ald", b"oldD"} <= found


def test_two_disks_are_the_same_if_their_files_are() -> None:
    assert digest({"/a": b"x", "/b": None}) == digest({"/b": None, "/a": b"x"})
    others: list[Tree] = [{"/a": b"x"}, {"/a": b"x", "/b": b""}, {"/a": b"y", "/b": None}, {"/a": b"x", "/c": None}]
    assert len({digest(tree) for tree in [*others, {"/a": b"x", "/b": None}]}) == 5


@pytest.mark.parametrize("losses", [torn_losses, random_losses])
def test_the_same_seed_loses_the_same(losses: type) -> None:
    disk = with_file(Write(FILE, 0, bytes(5000)), Write(FILE, 9000, b"x"), Rename({"/b": FILE}))
    once, again = ([*itertools.islice(losses(disk.pending, Random(3)), 40)] for _ in range(2))
    assert once == again
