"""The rows of a store file: read bit for bit or not at all, whatever the disk and the kernel do."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import StoreLayoutError, StoreUnavailableError
from embeddings.store.store_file import StoreFile
from embeddings.store.store_path import inspect
from tests.embeddings.store.made_files import fill, make


def test_rows_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")
    embeddings = fill(path, [7, 8, -9])
    file = StoreFile(path, writable=False)
    assert file.ids(0, 100).tolist() == [7, 8, -9, 0, 0, 0, 0, 0, 0, 0]
    assert file.ids(10, 20).tolist() == []
    read, good = file.checked(0, file.ids(0, 4))
    assert read[:3].tobytes() == embeddings.tobytes()
    assert good.tolist() == [True, True, True, False]
    one = file.embedding(1, 8)
    assert one is not None
    assert one.tobytes() == embeddings[1].tobytes()


def test_a_row_is_believed_only_for_its_own_id_and_bytes(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")
    fill(path, [7, 8, 9])
    layout = inspect(path)
    assert layout
    assert layout.offsets
    with path.open("r+b") as raw:
        raw.seek(layout.offsets.embeddings + 16)
        raw.write(b"\xff")
    file = StoreFile(path, writable=False)
    assert file.embedding(0, 8) is None
    assert file.embedding(1, 8) is None
    assert file.checked(0, np.array([7, 8, 9]))[1].tolist() == [True, False, True]


def test_a_bad_sector_costs_only_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "s.hdf5")
    embeddings = fill(path, [1, 2, 3, 4, 5])
    file = StoreFile(path, writable=False)
    layout = inspect(path)
    assert layout
    assert layout.offsets
    bad = layout.offsets.embeddings + 3 * 16 + 5
    pread = os.pread

    def pread_of_a_worn_disk(fd: int, size: int, offset: int) -> bytes:
        if offset <= bad < offset + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread_of_a_worn_disk)
    read, good = file.checked(0, np.array([1, 2, 3, 4, 5]))
    assert good.tolist() == [True, True, True, False, True]
    assert np.array_equal(read[good], embeddings[good])
    assert file.embedding(3, 4) is None


def test_a_file_cut_short_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")
    fill(path, [7])
    file = StoreFile(path, writable=False)
    os.truncate(path, 4096)
    with pytest.raises(StoreUnavailableError, match="shorter than its layout"):
        file.id_at(0)
    with pytest.raises(StoreLayoutError, match="shorter than its layout"):
        StoreFile(path, writable=False)


def test_reads_and_writes_that_the_kernel_cuts_short_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "s.hdf5")
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 5), offset))
    monkeypatch.setattr(os, "pwrite", lambda fd, content, offset: pwrite(fd, content[:5], offset))
    embeddings = fill(path, [7, 8])
    file = StoreFile(path, writable=False)
    read, good = file.checked(0, file.ids(0, 2))
    assert good.all()
    assert np.array_equal(read, embeddings)


def test_a_file_opened_for_reading_is_never_written(tmp_path: Path) -> None:
    file = StoreFile(make(tmp_path / "s.hdf5"), writable=False)
    with pytest.raises(StoreUnavailableError, match="cannot write"):
        file.write_ids(0, np.array([7]))


def test_a_failed_sync_is_told_to_every_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = StoreFile(make(tmp_path / "s.hdf5"), writable=True)
    under_way, told = threading.Event(), []

    def fail_once(_: int) -> None:  # like the kernel, which reports a failure to one caller
        if not under_way.is_set():
            under_way.set()
            time.sleep(0.05)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync() -> None:
        with pytest.raises(StoreUnavailableError) as caught:
            file.sync()
        told.append(caught.value)

    monkeypatch.setattr(os, "fdatasync", fail_once)
    first = threading.Thread(target=sync)
    first.start()
    under_way.wait()
    sync()
    first.join()
    assert len(told) == 2


def test_the_descriptor_is_closed_with_its_last_user(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")

    def descriptors() -> int:
        return [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()].count(str(path.resolve()))

    file = StoreFile(path, writable=False)
    user = file
    del file
    assert descriptors() == 1
    del user
    assert descriptors() == 0
