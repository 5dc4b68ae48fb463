"""A few cuts of a real ext4, and proof that a store without syncs is found out. Needs root and a loop device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from torture.ext4 import STAGES, cut
from torture.ext4_image import Ext4Image, MountError
from torture.kills import clean_processes


@pytest.fixture(scope="module")
def mountable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test if an ext4 in a file cannot be created and mounted."""
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


def no_data_sync() -> None:
    os.fdatasync = lambda fd: None


def no_sync() -> None:
    os.fdatasync = os.fsync = lambda fd: None


@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize("stage", STAGES)
def test_a_file_system_that_is_cut_off_keeps_what_was_promised(tmp_path: Path, stage: str) -> None:
    with clean_processes() as processes:
        finding = processes.submit(cut, stage, 2, 4, tmp_path).result()
    assert finding.losses == []
    assert left_over(tmp_path) == ""


@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize("sabotage", [no_data_sync, no_sync])
def test_a_store_without_syncs_is_found_out(tmp_path: Path, sabotage: Callable[[], None]) -> None:
    with clean_processes() as processes:
        finding = processes.submit(cut, "append and delete", 20, 4, tmp_path, sabotage=sabotage).result()
    assert any("lost" in loss for loss in finding.losses)


@pytest.mark.usefixtures("mountable")
def test_what_was_not_synced_is_gone_after_a_cut_and_only_that(tmp_path: Path) -> None:
    with Ext4Image.new(tmp_path / "ext4.img", tmp_path / "mnt", "commit=300") as image:  # by itself, every 300 s
        (image.place / "synced").write_bytes(b"1")
        subprocess.run(["sync", str(image.place / "synced"), str(image.place)], check=True)
        (image.place / "not synced").write_bytes(b"2")
        image.cut()
        with pytest.raises(OSError, match="Input/output error"):
            (image.place / "after the cut").write_bytes(b"3")
        image.unmount()
        image.mount()
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
    with pytest.raises(MountError, match=r"mkfs\.ext4 is not installed here"):
        Ext4Image.new(tmp_path / "ext4.img", tmp_path / "mnt")
