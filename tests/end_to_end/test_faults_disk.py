"""What the service does when its disk is full, fails, or takes nothing: it refuses, serves on, and recovers."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings.store.layout import Offsets
from embeddings.store.store_path import inspect
from tests.end_to_end.injected_faults import InjectedFaults
from tests.end_to_end.service import manage
from tests.end_to_end.spoilt_service import SpoiltService, start_in_vain
from tests.photo_server import PhotoServer
from tests.waiting import wait_until


def offsets(store: Path) -> Offsets:
    """Return where the parts of a store's file begin."""
    layout = inspect(store)
    assert layout is not None
    assert layout.offsets is not None
    return layout.offsets


@pytest.mark.parametrize(
    ("error", "status"),
    [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EROFS, 503), (errno.EIO, 503)],
    ids=["full disk", "quota", "read-only file system", "bad disk"],
)
def test_failed_writes_refuse_adds_and_nothing_else(
    service: SpoiltService, faults: InjectedFaults, error: int, status: int
) -> None:
    with faults.failing("pwrite", error):
        service.assert_adds_are_refused(status, os.strerror(error))
        service.assert_it_answers()
    service.assert_it_is_whole()


def test_limit_of_file_sizes_refuses_adds_and_kills_no_worker(service: SpoiltService) -> None:
    with service.limited(resource.RLIMIT_FSIZE, offsets(service.store).embeddings):
        service.assert_adds_are_refused(507, "File too large")
        service.assert_it_answers()
    service.assert_it_is_whole()


def test_row_that_cannot_be_read_spoils_no_other(service: SpoiltService, faults: InjectedFaults) -> None:
    row = service.get("/stored").json()["stored"].index(7)
    first = offsets(service.store).embeddings + row * 4 * 1280
    with faults.failing("pread", errno.EIO, first=first, last=first):
        assert service.get("/7").status_code == 500
        assert service.get("/batch?logo_ids=7,8&count=1").json()["count"] == 1
        service.assert_it_answers()
        assert service.add_one().status_code == 200
    assert service.get("/7").status_code == 200


def test_disk_that_cannot_be_read_leaves_the_indexed_logos(service: SpoiltService, faults: InjectedFaults) -> None:
    with faults.failing("pread", errno.EIO):
        service.assert_adds_are_refused(503, "Input/output error")
        assert service.get("/8").status_code == 503
        assert service.get("/1?count=2").json()["results"][0]["logo_id"] == 1
    service.assert_it_is_whole()


def test_failed_sync_refuses_adds_until_the_restart(service: SpoiltService, faults: InjectedFaults) -> None:
    before = service.get("/stored").json()
    with faults.failing("fdatasync", errno.EIO):
        service.assert_adds_are_refused(503, "see to its disk, then restart")
        service.assert_it_answers()
    assert service.get("/stored").json() == before
    refused = [service.add_one() for _ in range(8)]
    assert any(answer.status_code == 503 for answer in refused), "what was not written may still be in the cache"
    service.restart()
    service.assert_it_is_whole()


def test_sync_that_fails_once_acknowledges_nothing(service: SpoiltService, faults: InjectedFaults) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool, faults.hanging("fdatasync"):
        add = pool.submit(service.add_one, 500)
        wait_until(lambda: faults.hangs("fdatasync"))  # the first sync, of the vectors
        with faults.failing("fdatasync", errno.EIO, once=True):  # the second, of the ids
            faults.release("fdatasync")
            assert add.result().status_code == 503
    assert 500 not in service.get("/stored").json()["stored"]
    service.restart()
    assert 500 not in service.get("/stored").json()["stored"]
    assert service.add_one(500).status_code == 200
    service.assert_it_is_whole()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_disk_that_fills_up_and_is_cleared(small_disk: Path, photos: PhotoServer) -> None:
    with SpoiltService(small_disk / "data", photos) as service:
        service.prepare()
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(2**12))
        while (answer := service.add_one()).status_code == 200:  # what is left of the last page
            pass
        assert answer.status_code == 507
        assert "No space left on device" in service.log
        service.assert_it_answers()
        filler.unlink()
        service.assert_it_is_whole()
    assert manage(small_disk / "data", "verify").returncode == 0


def test_start_on_a_read_only_disk_says_so_in_one_line(small_disk: Path) -> None:
    last = start_in_vain(f"mount -o remount,ro {small_disk}", small_disk / "data")[-1]
    assert last.startswith("robotoff-ann: ")
    assert "Read-only file system" in last
