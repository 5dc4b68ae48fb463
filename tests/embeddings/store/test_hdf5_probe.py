"""Files whose metadata libhdf5 does not survive are refused, and the process that asked goes on."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from embeddings.errors import StoreLayoutError, StoreUnavailableError
from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store import hdf5_file
from embeddings.store import hdf5_probe as description
from embeddings.store.layout import Layout
from embeddings.store.store_path import create_store, inspect
from embeddings.store.writer_lock import writer_lock
from tests.stores import STAMP, original, vectors


def many_chunks(path: Path) -> Path:
    return original(path, [1] * 2000, vectors(2000, 8), capacity=2000)


def lead_an_index_of_chunks_to_itself(path: Path) -> None:
    """Let the root of the B-tree (HDF5 File Format Specification, III.A.1) be its own first child."""
    content = bytearray(path.read_bytes())
    root = content.index(b"TREE\1\1")  # of raw data chunks, one level above the leaves
    struct.pack_into("<Q", content, root + 24 + 8 + 3 * 8, root)
    path.write_bytes(content)


def test_an_index_of_chunks_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    path = many_chunks(tmp_path / "s.hdf5")
    lead_an_index_of_chunks_to_itself(path)
    before = path.read_bytes()
    with pytest.raises(StoreLayoutError, match=r"HDF5 died of SIGSEGV reading it; restore it from a backup"):
        prepare_store(path, capacity=2000, dim=8, stamp=STAMP)
    with pytest.raises(StoreLayoutError, match="died of SIGSEGV"):
        rewrite_store(path)
    assert path.read_bytes() == before


def work_for_ever() -> None:
    while True:
        pass


def take_gigabytes() -> None:
    bytearray(2**32)


def crash() -> None:
    os.abort()


def leave() -> None:
    os._exit(3)


def refuse() -> None:
    raise StoreLayoutError("no store")


DEEDS = {
    work_for_ever: "HDF5 died of SIGXCPU reading it; restore it",
    take_gigabytes: "HDF5 failed with status 1",
    crash: "HDF5 died of SIGABRT",
    leave: "HDF5 failed with status 3",
    refuse: "^no store$",
}


@pytest.mark.parametrize(("deed", "reason"), DEEDS.items())
def test_whatever_becomes_of_the_child_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None], reason: str
) -> None:
    path = many_chunks(tmp_path / "s.hdf5")
    monkeypatch.setattr(hdf5_file, "read_description", lambda fd, path: deed())
    monkeypatch.setattr(description, "_CPU_SECONDS", 1)
    with pytest.raises(StoreLayoutError, match=reason):
        inspect(path)


def test_a_child_that_waits_for_ever_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = many_chunks(tmp_path / "s.hdf5")
    monkeypatch.setattr(hdf5_file, "read_description", lambda fd, path: time.sleep(60))
    monkeypatch.setattr(description, "_SECONDS", 0.2)
    with pytest.raises(StoreLayoutError, match=r"HDF5 took more than 0.2 s"):
        inspect(path)


def test_the_child_holds_no_lock_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = many_chunks(tmp_path / "s.hdf5")

    def take_the_lock(fd: int, path: Path) -> Layout:
        with writer_lock(path):  # it would wait for ever if the parent's were closed later
            return Layout(3, 4, STAMP, None)

    def let_go_of_the_lock(*fds: int) -> None:
        let_go(*fds)
        os.kill(os.getppid(), signal.SIGUSR1)

    let_go = description._close_all_but
    monkeypatch.setattr(hdf5_file, "read_description", take_the_lock)
    monkeypatch.setattr(description, "_close_all_but", let_go_of_the_lock)
    with path.with_name("s.hdf5.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = signal.signal(signal.SIGUSR1, lambda *_: lock.close())
        try:
            assert inspect(path) == Layout(3, 4, STAMP, None)
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_a_machine_that_starts_no_process_is_no_verdict_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many_chunks(tmp_path / "s.hdf5")

    def fail() -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(StoreUnavailableError, match="temporarily unavailable"):
        inspect(path)


def test_a_store_with_a_sound_header_needs_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_store(tmp_path / "s.hdf5", capacity=3, dim=2, stamp=STAMP)
    monkeypatch.setattr(os, "fork", pytest.fail)
    assert inspect(tmp_path / "s.hdf5")


def test_the_child_ends_nothing_that_its_parent_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, read = os.getpid(), hdf5_file.read_description

    class Network:  # stands for one with threads, which the child has not
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            if os.getpid() != parent:
                os.abort()

    def read_with_much_garbage(fd: int, path: Path) -> Layout:
        gc.set_threshold(1, 1, 1)
        assert len([[] for _ in range(1000)]) == 1000
        return read(fd, path)

    monkeypatch.setattr(hdf5_file, "read_description", read_with_much_garbage)
    before = gc.get_threshold()
    gc.set_threshold(10**6)
    try:
        Network()
        layout = inspect(many_chunks(tmp_path / "s.hdf5"))
    finally:
        gc.set_threshold(*before)
    assert layout
    assert layout.capacity == 2000
    assert gc.isenabled()
