"""Files that survive a power cut."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from durable import READABLE, atomic_write, make_directory, sync_file


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each sync and rename, by what it does."""
    noted: list[str] = []
    fsync, rename = os.fsync, os.replace

    def note_sync(fd: int) -> None:
        noted.append("sync directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync file")
        fsync(fd)

    def note_rename(old: Path, new: Path) -> None:
        noted.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    return noted


@pytest.mark.parametrize("alone", [False, True])
def test_a_file_is_replaced_whole(tmp_path: Path, alone: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path, alone=alone) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_gets_its_name_once_it_is_on_the_disk(tmp_path: Path, steps: list[str]) -> None:
    with atomic_write(tmp_path / "file") as file:
        file.write(b"content")
    assert steps == ["sync file", "rename", "sync directory"]


def test_after_an_error_the_old_file_stays_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lone_writer_overwrites_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".file").write_bytes(b"the long draft of a killed run")
    with atomic_write(tmp_path / "file", alone=True) as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_several_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write(number: int) -> None:
        with atomic_write(path) as file:
            file.write(b"%d" % number * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert path.read_bytes() in [b"%d" % number * 10_000 for number in range(8)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_for_everyone_is_one_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with atomic_write(tmp_path / "written", mode=READABLE):
            pass
        (tmp_path / "synced").touch()
        sync_file(tmp_path / "synced", mode=READABLE)
        (tmp_path / "private").touch()
        sync_file(tmp_path / "private")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"written": 0o644, "synced": 0o644, "private": 0o600}


def test_new_directories_are_synced_into_their_parents(tmp_path: Path, steps: list[str]) -> None:
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert steps == ["sync directory"] * 2
    make_directory(tmp_path / "a" / "b")
    assert steps == ["sync directory"] * 2
