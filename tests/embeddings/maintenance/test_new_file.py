"""A new file is on the disk before it takes the old one's name, and a failure leaves the store as it was."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from embeddings.errors import StoreError, StoreFullError
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import draft_path
from tests.embeddings.maintenance.migrated import names, prepare
from tests.stores import original, vectors


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_is_found_out_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = original(tmp_path / "s.hdf5", [1, 2], vectors(2))
    draft_path(path).write_text("what a killed run left takes room, too")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(100, 90, 10))
    with pytest.raises(StoreFullError, match="make room"):
        prepare(path)
    assert names(tmp_path) == ["s.hdf5"]


@pytest.mark.parametrize(
    ("before", "steps"),
    [
        ("nothing", ["sync draft", "link draft s.hdf5", "sync directory"]),
        (
            "original",
            [
                "sync draft",  # its layout,
                "sync draft",  # its rows
                "link s.hdf5 s.original.hdf5",
                "sync directory",
                "replace draft s.hdf5",
                "sync directory",
            ],
        ),
    ],
)
def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, steps: list[str]
) -> None:
    path = tmp_path / "s.hdf5"
    if before == "original":
        original(path, [1, 2], vectors(2))
    label = {draft_path(path): "draft", tmp_path: "directory"}
    seen: list[str] = []

    def note(name: str, word: str) -> None:
        real = getattr(os, name)

        def noting(*things: Any) -> None:
            paths = [Path(f"/proc/self/fd/{thing}").readlink() if isinstance(thing, int) else thing for thing in things]
            seen.append(" ".join([word, *(label.get(path, path.name) for path in paths)]))
            real(*things)

        monkeypatch.setattr(os, name, noting)

    for name, word in (("fdatasync", "sync"), ("fsync", "sync"), ("link", "link"), ("replace", "replace")):
        note(name, word)
    prepare(path)
    assert seen == steps


@pytest.mark.parametrize("function", ["pwrite", "fdatasync", "fsync", "link", "replace", "chmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_migration_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    path = original(tmp_path / "s.hdf5", [1, 2], vectors(2))
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(StoreError, match=os.strerror(number)):
            prepare(path)
    assert path.read_bytes() == before
    assert not draft_path(path).exists()
    assert prepare(path)
    assert EmbeddingStore(path).ids().tolist() == [1, 2]


def test_the_new_file_belongs_to_whom_the_old_one_did(tmp_path: Path) -> None:
    path = original(tmp_path / "s.hdf5", [1], vectors(1))
    path.chmod(0o640)
    prepare(path)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    rewrite_store(path)
    assert path.stat().st_mode & 0o777 == 0o600
