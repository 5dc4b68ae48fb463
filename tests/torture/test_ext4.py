"""Some cuts of a real ext4, and what would be found if the store did not sync. Needs root and a loop device."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from embeddings.maintenance.backup import backup_store
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store
from torture.expectation import STAMP, provenance_of, vectors_of
from torture.ext4 import run
from torture.ext4_image import Ext4Image, MountError
from torture.ext4_promises import Promises
from torture.ext4_writers import DIM, SMALL, STORE, Told, backup_path, created_path


@pytest.fixture(scope="module")
def mountable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where an ext4 in a file cannot be made and mounted."""
    directory = tmp_path_factory.mktemp("probe")
    try:
        with Ext4Image.new(directory / "ext4.img", directory / "mnt") as image:
            image.cut()
    except (MountError, OSError) as error:
        pytest.skip(f"no ext4 can be mounted and cut off here: {error}")


def left_over(directory: Path) -> str:
    """Return what is still mounted below a directory, and the loop devices of files there."""
    devices = subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout
    lines = [*devices.splitlines(), *Path("/proc/mounts").read_text().splitlines()]
    return "\n".join(line for line in lines if str(directory) in line)


@pytest.mark.usefixtures("mountable")
def test_a_file_system_that_is_cut_off_keeps_what_was_promised(tmp_path: Path) -> None:
    findings = run(tmp_path, cuts=10, seed=4, copies=0.6)
    assert [finding.losses for finding in findings] == [[], []]
    assert sum(finding.tried for finding in findings) == 10
    assert all(finding.tried > 1 for finding in findings)
    assert "added" in findings[0].test
    assert left_over(tmp_path) == ""


@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize("sabotage", ["no fdatasync", "no sync"])
def test_a_store_that_does_not_sync_is_found_out(tmp_path: Path, sabotage: str) -> None:
    stopped, copied = run(tmp_path, cuts=4, seed=4, copies=1.0, sabotage=sabotage)
    assert any("lost" in loss for loss in stopped.losses)
    assert any("lost" in loss for loss in copied.losses)


@pytest.mark.usefixtures("mountable")
def test_what_was_not_synced_is_gone_after_a_cut_and_only_that(tmp_path: Path) -> None:
    with Ext4Image.new(tmp_path / "ext4.img", tmp_path / "mnt", "commit=300") as image:  # by itself, every 300 s
        (image.place / "synced").write_bytes(b"1")
        subprocess.run(["sync", str(image.place / "synced"), str(image.place)], check=True)
        (image.place / "not synced").write_bytes(b"2")
        assert image.copy(tmp_path / "copy.img")
        image.cut()
        with pytest.raises(OSError, match="Input/output error"):
            (image.place / "after the cut").write_bytes(b"3")
        image.unmount()
        image.mount()
        assert [path.name for path in image.place.iterdir() if path.is_file()] == ["synced"]
        image.unmount()
        assert image.trouble() == ""
    with Ext4Image(tmp_path / "copy.img", tmp_path / "copy") as image:
        assert [path.name for path in image.place.iterdir() if path.is_file()] == ["synced"]


@pytest.mark.usefixtures("mountable")
def test_nothing_stays_mounted_after_a_failure(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        Ext4Image.new(tmp_path / "ext4.img", tmp_path / "mnt") as image,
    ):
        assert left_over(tmp_path)
        image.cut()
        raise ZeroDivisionError
    assert left_over(tmp_path) == ""
    (tmp_path / "no.img").write_bytes(bytes(2**20))
    with pytest.raises(MountError, match="mount"):
        Ext4Image(tmp_path / "no.img", tmp_path / "mnt").__enter__()
    assert left_over(tmp_path) == ""


def test_a_machine_without_mkfs_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match=r"no mkfs\.ext4 here"):
        Ext4Image.new(tmp_path / "ext4.img", tmp_path / "mnt")


def new_store(path: Path, *ids: int) -> None:
    path.parent.mkdir(exist_ok=True)
    create_store(path, capacity=SMALL, dim=DIM, stamp=STAMP)
    with EmbeddingStore(path) as store:
        store.append(ids, vectors_of(ids, DIM), provenance_of(ids))


def test_promises_are_judged_as_they_were_told(tmp_path: Path) -> None:
    new_store(tmp_path / STORE, 1, 2, 3)
    promises = Promises()
    promises.take(Told("added", 0, 1, [1, 2, 3]))
    assert promises.losses(tmp_path) == []
    promises.take(Told("added", 1, 2, [4, 5]))
    assert promises.losses(tmp_path) == ["lost [4, 5]"]
    promises.take(Told("asks", 2, 2, [4, 5]))
    assert promises.losses(tmp_path) == []
    promises.take(Told("asks", 3, 3, [3]))
    assert promises.losses(tmp_path) == []
    promises.take(Told("deleted", 3, 4, [3]))
    assert promises.losses(tmp_path) == ["deleted, and back again: [3]"]


def test_a_store_that_was_made_must_be_there_with_its_logo(tmp_path: Path) -> None:
    new_store(tmp_path / STORE)
    promises = Promises()
    promises.take(Told("created", 0, 1, [7]))
    assert promises.losses(tmp_path)[0].startswith("store 7: lost as a whole: cannot open")
    new_store(created_path(tmp_path, 7))
    assert promises.losses(tmp_path) == []
    promises.take(Told("filled", 0, 2, [7]))
    assert promises.losses(tmp_path) == ["store 7: lost [7]"]


def test_a_backup_owes_what_was_promised_before_it_began(tmp_path: Path) -> None:
    new_store(tmp_path / STORE, 1, 2)
    backup_store(tmp_path / STORE, backup_path(tmp_path, 9))
    with EmbeddingStore(tmp_path / STORE) as store:
        store.append([3], vectors_of([3], DIM), provenance_of([3]))
        store.delete([2])
    promises = Promises()
    promises.take(Told("added", 0, 1, [1, 2]))
    promises.take(Told("added", 3, 4, [3]))
    promises.take(Told("asks", 4, 4, [2]))
    promises.take(Told("deleted", 4, 5, [2]))
    promises.take(Told("saved", 2, 6, [9]))
    assert promises.losses(tmp_path) == []
    promises.take(Told("saved", 5.5, 6, [9]))
    assert promises.losses(tmp_path) == ["backup 9: lost [3]", "backup 9: deleted, and back again: [2]"]


def test_what_was_begun_is_ended_by_the_next_start(tmp_path: Path) -> None:
    new_store(tmp_path / STORE, 1)
    (tmp_path / "new-5").mkdir()
    promises = Promises()
    promises.take(Told("added", 0, 1, [1]))
    assert promises.after_going_on(tmp_path, [10, 11]) == []
    assert created_path(tmp_path, 5).exists()
    assert promises.after_going_on(tmp_path, [10, 11]) == ["the next append stored [], not [10, 11], and lacks []"]
