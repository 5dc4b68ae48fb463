"""How a store lies in its HDF5 file, and which files are refused."""

from __future__ import annotations

import errno
import os
import resource
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from embeddings.errors import StoreFullError, StoreLayoutError, StoreUnavailableError
from embeddings.store.layout import HEADER_BYTES, MAGIC, ModelStamp
from embeddings.store.provenance import RECORD
from embeddings.store.store_file import StoreFile
from embeddings.store.store_path import create_store, draft_path, inspect
from tests.embeddings.store.made_files import STAMP, fill, make


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_rows_are_contiguous_in_pages_of_their_own_and_ids_come_first(tmp_path: Path) -> None:
    with h5py.File(make(tmp_path / "s.hdf5"), "r") as hdf5:
        datasets = [hdf5[name] for name in ("external_id", "crc32", "embedding", "provenance")]
        assert [(dataset.shape, dataset.dtype) for dataset in datasets] == [
            ((10,), np.dtype("<i8")),
            ((10,), np.dtype("<u4")),
            ((10, 4), np.dtype("<f4")),
            ((10,), RECORD),
        ]
        offsets = [dataset.id.get_offset() for dataset in datasets]
    assert offsets == sorted(offsets)
    assert all(offset % 4096 == 0 for offset in offsets)


def test_an_empty_store_takes_no_space(tmp_path: Path) -> None:
    status = make(tmp_path / "s.hdf5", capacity=1_000_000, dim=1280).stat()
    assert status.st_size > 5e9
    assert status.st_blocks * 512 < 1_000_000


def test_any_hdf5_reader_reads_a_store_in_use(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")
    embeddings = fill(path, [7, 8])
    in_use = StoreFile(path, writable=True)
    with h5py.File(path, "r") as hdf5:
        assert hdf5["external_id"][:3].tolist() == [7, 8, 0]
        assert np.array_equal(hdf5["embedding"][:2], embeddings)
        assert dict(hdf5.attrs) == {"model": "efficientnet-b0", "model_digest": "abc", "version": 2}
    assert in_use.id_at(0) == 7


def test_an_hdf5_writer_and_a_store_keep_each_other_out(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")
    in_use = StoreFile(path, writable=True)
    with pytest.raises(OSError, match="unable to lock file"):
        h5py.File(path, "r+")
    del in_use
    with h5py.File(path, "r+"), pytest.raises(StoreUnavailableError, match="another program"):
        StoreFile(path, writable=False)


def test_a_file_that_is_there_is_never_replaced_by_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    path.write_text("precious")
    with pytest.raises(StoreUnavailableError, match="File exists"):
        make(path)
    assert path.read_text() == "precious"
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_crashed_run_left_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    draft_path(path).write_text("half a store")
    make(path)
    assert [*tmp_path.iterdir()] == [path]


def test_a_store_too_large_for_the_file_system_is_refused(tmp_path: Path) -> None:
    with files_no_larger_than(100_000), pytest.raises(StoreFullError, match="File too large"):
        make(tmp_path / "s.hdf5", capacity=100_000)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("capacity", "dim"), [(0, 4), (10, 0)])
def test_a_store_has_at_least_one_row_and_one_dimension(tmp_path: Path, capacity: int, dim: int) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        make(tmp_path / "s.hdf5", capacity, dim)


def test_a_store_says_its_model(tmp_path: Path) -> None:
    layout = inspect(make(tmp_path / "s.hdf5"))
    assert layout
    assert (layout.capacity, layout.dim, layout.stamp) == (10, 4, STAMP)
    assert layout.offsets


def test_a_missing_file_has_no_layout(tmp_path: Path) -> None:
    assert inspect(tmp_path / "s.hdf5") is None


@pytest.mark.parametrize("id_type", ["i4", "i8"])
def test_the_original_layout_has_no_offsets_and_no_model(tmp_path: Path, id_type: str) -> None:
    with h5py.File(tmp_path / "s.hdf5", "w") as hdf5:
        hdf5.create_dataset("external_id", (10,), id_type, chunks=True)
        hdf5.create_dataset("embedding", (10, 4), "f4", chunks=True)
    layout = inspect(tmp_path / "s.hdf5")
    assert layout
    assert (layout.capacity, layout.dim, layout.stamp, layout.offsets) == (10, 4, ModelStamp("", ""), None)
    with pytest.raises(StoreLayoutError, match="run `manage"):
        StoreFile(tmp_path / "s.hdf5", writable=False)


def test_a_store_without_its_header_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")
    overwrite(path, 0, bytes(HEADER_BYTES))
    for look in (inspect, lambda path: StoreFile(path, writable=False)):
        with pytest.raises(StoreLayoutError, match="migrate-store"):
            look(path)


@pytest.mark.parametrize("place", [0, 30, 100])
def test_a_damaged_header_is_not_believed(tmp_path: Path, place: int) -> None:
    path = make(tmp_path / "s.hdf5")
    overwrite(path, len(MAGIC) + place, b"9")
    with pytest.raises(StoreLayoutError, match=r"header of .* is damaged: .*migrate-store"):
        inspect(path)


def test_a_read_error_in_the_header_does_not_mean_a_damaged_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "s.hdf5")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    for look in (inspect, lambda path: StoreFile(path, writable=False)):
        with pytest.raises(StoreUnavailableError, match="cannot read the header"):
            look(path)


def test_a_store_whose_metadata_changed_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "s.hdf5")
    with h5py.File(path, "r+") as hdf5:
        hdf5.attrs["note"] = "another tool was here"
    with pytest.raises(StoreLayoutError, match="another tool rewrote it"):
        inspect(path)


@pytest.mark.parametrize("lost", ["crc32", "model_digest"])
def test_a_store_that_lost_more_than_its_header_does_not_pass_for_an_original(tmp_path: Path, lost: str) -> None:
    with h5py.File(tmp_path / "s.hdf5", "w") as hdf5:
        hdf5.create_dataset("external_id", (10,), "i8")
        hdf5.create_dataset("embedding", (10, 4), "f4")
        if lost == "crc32":
            hdf5.attrs["model_digest"] = "digest"
        else:
            hdf5.create_dataset("crc32", (10,), "u4")
    with pytest.raises(StoreLayoutError, match="a part of its description is missing"):
        inspect(tmp_path / "s.hdf5")


def test_a_model_whose_name_does_not_fit_into_the_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long for the header"):
        create_store(tmp_path / "s.hdf5", capacity=1, dim=1, stamp=ModelStamp("a" * 5000, ""))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("ids", "embeddings"),
    [
        (((10,), "i4"), ((10, 4), "f8")),
        (((10,), "f4"), ((10, 4), "f4")),
        (((9,), "i4"), ((10, 4), "f4")),
        (((10,), "i4"), ((10,), "f4")),
        (((10,), "i4"), None),
        (None, ((10, 4), "f4")),
    ],
)
def test_other_hdf5_files_are_not_stores(
    tmp_path: Path, ids: tuple[tuple[int, ...], str] | None, embeddings: tuple[tuple[int, ...], str] | None
) -> None:
    with h5py.File(tmp_path / "s.hdf5", "w") as hdf5:
        for name, dataset in (("external_id", ids), ("embedding", embeddings)):
            if dataset:
                hdf5.create_dataset(name, *dataset)
    with pytest.raises(StoreLayoutError, match="not a store"):
        inspect(tmp_path / "s.hdf5")


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_other_files_are_not_stores(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.hdf5").write_bytes(content)
    with pytest.raises(StoreLayoutError, match="damaged or not a store"):
        inspect(tmp_path / "s.hdf5")


def test_directories_and_pipes_are_not_stores(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(StoreLayoutError, match="not a regular file"):
            inspect(path)


def test_a_missing_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="No such file"):
        StoreFile(tmp_path / "s.hdf5", writable=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("store 2", "store 3"),
        lambda text: text.replace('"ids"', '"names": 4096, "ids"'),
        lambda text: text.replace('"dim"', '"compression": "zstd", "dim"'),
        lambda text: text.replace("store 2", "store 1"),
    ],
)
def test_a_store_of_a_later_release_is_refused_as_such(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = make(tmp_path / "s.hdf5")
    header = path.read_bytes()[:HEADER_BYTES].rstrip(b"\0").decode()
    content = change(header[:-9]).encode()
    overwrite(path, 0, (content + f"{zlib.crc32(content):08x}\n".encode()).ljust(HEADER_BYTES, b"\0"))
    with pytest.raises(StoreLayoutError, match="later release"):
        inspect(path)
