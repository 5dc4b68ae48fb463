"""When its disk is full, failing or read-only, the service refuses adds, keeps serving, and recovers."""

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
from tests.end_to_end.faulty_service import FaultyService, start_that_fails
from tests.end_to_end.injected_faults import InjectedFaults
from tests.end_to_end.service import manage
from tests.photo_server import PhotoServer
from tests.waiting import wait_until


def offsets(store: Path) -> Offsets:
    """Return the offsets of the parts of a store file."""
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
    service: FaultyService, faults: InjectedFaults, error: int, status: int
) -> None:
    with faults.failing("pwrite", error):
        service.assert_adds_are_refused(status, os.strerror(error))
        service.assert_queries_succeed()
    service.assert_intact()


def test_limited_file_size_refuses_adds_and_kills_no_worker(service: FaultyService) -> None:
    with service.limited(resource.RLIMIT_FSIZE, offsets(service.store).embeddings):
        service.assert_adds_are_refused(507, "File too large")
        service.assert_queries_succeed()
    service.assert_intact()


def test_unreadable_row_affects_no_other(service: FaultyService, faults: InjectedFaults) -> None:
    row = service.get("/stored").json()["stored"].index(7)
    first = offsets(service.store).embeddings + row * 4 * 1280
    with faults.failing("pread", errno.EIO, first=first, last=first):
        assert service.get("/7").status_code == 500
        assert service.get("/batch?logo_ids=7,8&count=1").json()["count"] == 1
        service.assert_queries_succeed()
        assert service.add_one().status_code == 200
    assert service.get("/7").status_code == 200


def test_indexed_logos_are_served_from_an_unreadable_disk(service: FaultyService, faults: InjectedFaults) -> None:
    with faults.failing("pread", errno.EIO):
        service.assert_adds_are_refused(503, "Input/output error")
        assert service.get("/8").status_code == 503
        assert service.get("/1?count=2").json()["results"][0]["logo_id"] == 1
    service.assert_intact()


def test_failed_sync_refuses_adds_until_the_restart(service: FaultyService, faults: InjectedFaults) -> None:
    before = service.get("/stored").json()
    with faults.failing("fdatasync", errno.EIO):
        service.assert_adds_are_refused(503, "check its disk, then restart")
        service.assert_queries_succeed()
    assert service.get("/stored").json() == before
    refused = [service.add_one() for _ in range(8)]
    assert any(answer.status_code == 503 for answer in refused), "what was not written may still be in the cache"
    service.restart()
    service.assert_intact()


def test_sync_that_fails_once_acknowledges_nothing(service: FaultyService, faults: InjectedFaults) -> None:
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
    service.assert_intact()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount an empty file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_full_disk_refuses_adds_until_there_is_space(small_disk: Path, photos: PhotoServer) -> None:
    with FaultyService(small_disk / "data", photos) as service:
        service.prepare()
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(2**12))
        while (answer := service.add_one()).status_code == 200:  # fills the rest of the last page
            pass
        assert answer.status_code == 507
        assert "No space left on device" in service.log
        service.assert_queries_succeed()
        filler.unlink()
        service.assert_intact()
    assert manage(small_disk / "data", "verify").returncode == 0


def test_start_on_a_read_only_disk_fails_with_one_line(small_disk: Path) -> None:
    last = start_that_fails(f"mount -o remount,ro {small_disk}", small_disk / "data")[-1]
    assert last.startswith("robotoff-ann: ")
    assert "Read-only file system" in last
