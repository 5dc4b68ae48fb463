"""The service when files disappear or change, descriptors run out, the clock jumps, or it is shut down."""

from __future__ import annotations

import concurrent.futures
import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests

from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store, inspect
from settings import Settings
from tests.end_to_end.faulty_service import FaultyService
from tests.end_to_end.injected_faults import InjectedFaults
from tests.end_to_end.service import Service
from tests.waiting import PATIENCE, wait_until

DAYS = 86_400


@contextmanager
def moved_away(path: Path) -> Iterator[Path]:
    """Move a file away for the length of the block."""
    aside = path.with_name("aside")
    path.rename(aside)
    try:
        yield aside
    finally:
        aside.replace(path)


def test_store_that_disappears_is_still_read_and_used_again_when_it_returns(service: FaultyService) -> None:
    with moved_away(service.store):
        service.assert_adds_are_refused(503, "is gone: put it back, or restart the service")
        service.assert_queries_succeed()
    service.assert_intact()


def test_store_that_is_replaced_by_another_of_the_model_is_served(service: FaultyService) -> None:
    with moved_away(service.store) as aside:
        layout = inspect(aside)
        assert layout is not None
        create_store(service.store, capacity=10, dim=layout.dim, stamp=layout.stamp)
        with EmbeddingStore(service.store) as other, EmbeddingStore(aside, writable=False) as first:
            other.append([77], np.array([first.get(8)]))
        for _ in range(6):
            assert service.get("/stored").json() == {"stored": [77]}
            assert service.get("/8").status_code == 404
    service.assert_intact()


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "an empty file": lambda path: path.touch(),
    "rubbish": lambda path: path.write_bytes(b"rubbish" * 1000),
    "a folder": lambda path: path.mkdir(),
    "another model's": lambda path: create_store(path, capacity=9, dim=1280, stamp=ModelStamp("other", "digest")),
    "other dimensions": lambda path: create_store(path, capacity=9, dim=8, stamp=ModelStamp("", "")),
}


@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS.keys())
def test_store_that_is_replaced_by_another_file_is_refused(
    service: FaultyService, replace: Callable[[Path], object]
) -> None:
    with moved_away(service.store):
        replace(service.store)
        for _ in range(4):
            assert service.add_one().status_code == 503
            assert service.get("/8").status_code == 503
            assert service.get("/count").status_code == 503
            assert service.get("/1?count=2").json()["results"][0]["logo_id"] == 1  # the index needs no store
        assert str(service.store) in service.log
        if service.store.is_dir():
            service.store.rmdir()
    service.assert_intact()


def test_truncated_store_is_refused_until_it_is_restored(service: FaultyService) -> None:
    backup = service.store.with_name("backup")
    shutil.copy(service.store, backup)
    with service.store.open("r+b") as file:
        file.truncate(3000)
    service.assert_adds_are_refused(503, "is shorter than its layout says: restore it from a backup")
    assert service.get("/8").status_code == 503
    assert service.get("/1?count=2").json()["results"][0]["logo_id"] == 1
    backup.replace(service.store)
    service.assert_intact()


def test_lock_file_may_be_removed_between_adds(service: FaultyService) -> None:
    for _ in range(4):
        service.lock.unlink()
        assert service.add_one().status_code == 200
    service.assert_intact()


def test_lock_file_removed_while_it_is_held_loses_no_acknowledged_logo(
    service: FaultyService, faults: InjectedFaults
) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool, faults.hanging("fdatasync"):
        holder = pool.submit(service.add_one)
        wait_until(lambda: faults.hangs("fdatasync"))
        service.lock.unlink()
        with EmbeddingStore(service.store) as other:
            assert other.append([900], np.array([other.get(8)])) == [900]
        service.acknowledged.add(900)
        faults.release("fdatasync")
        assert holder.result().status_code == 503
    assert "was removed while it was locked" in service.log
    service.assert_intact()


def test_lock_file_that_cannot_be_opened_refuses_adds(service: FaultyService, faults: InjectedFaults) -> None:
    with faults.failing("open", errno.EACCES, ".hdf5.lock"):
        service.assert_adds_are_refused(503, "Permission denied")
        service.assert_queries_succeed()
    service.assert_intact()


def test_adds_wait_for_another_process_and_queries_do_not(service: FaultyService) -> None:
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        with service.lock.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            adds = [pool.submit(service.add_one) for _ in range(100)]
            refused = 100 - 2 * Settings().workers.add_concurrency
            wait_until(lambda: sum(add.done() for add in adds) >= refused)  # the other adds wait, and threads remain
            service.assert_queries_succeed()
            assert "is being rewritten" not in service.log
        assert {add.result().status_code for add in adds} == {200, 503}
    service.assert_intact()


def test_without_descriptors_adds_are_refused_and_new_clients_wait_until_there_are_some(service: FaultyService) -> None:
    logged = len(service.log)
    with concurrent.futures.ThreadPoolExecutor() as pool, service.on_one_connection():
        with service.limited(
            resource.RLIMIT_NOFILE, 3
        ):  # the standard streams use these, so no other descriptor is free
            for _ in range(4):
                refused = service.add_one()
                assert (refused.status_code, refused.json()["title"]) == (503, "too busy"), refused.text
            service.assert_queries_succeed()
            new_client = pool.submit(requests.get, service.url("/count"), timeout=PATIENCE)
            wait_until(lambda: "Too many open files, with" in service.log[logged:])
            assert not new_client.done()
        assert new_client.result().status_code == 200
    service.assert_intact()


@pytest.mark.parametrize("days", [400, -400])
def test_clock_may_jump(service: FaultyService, faults: InjectedFaults, days: int) -> None:
    with faults.shifted_clock(days * DAYS):
        service.assert_intact()
        service.build_index(**faults.environment)
        service.assert_intact()


def test_acknowledged_adds_survive_a_shutdown_between_them(service: FaultyService) -> None:
    def add_until_refused() -> None:
        with pytest.raises(requests.ConnectionError):
            while service.add_one().status_code in (200, 503):  # 503: too many at once
                pass

    known = len(service.acknowledged)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        adds = [pool.submit(add_until_refused) for _ in range(4)]
        wait_until(lambda: len(service.acknowledged) > known + 10)
        assert service.terminate() == 0
        for add in adds:
            add.result()
    service.start()
    service.assert_intact()


def test_service_starts_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = "mount -t tmpfs -o ro none /dev/shm"
    unshared = ["unshare", "--mount", "sh", "-c", mount]
    if os.geteuid() != 0 or subprocess.run(unshared, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes root")
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh\nexec unshare --mount sh -c '{mount} && exec "$0" "$@"' {sys.executable} "$@"\n""")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with Service(tmp_path / "data") as service:
        assert service.get("/count").json() == {"count": 0}
