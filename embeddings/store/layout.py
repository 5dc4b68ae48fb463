"""The layout of the store's file, and where its bytes lie (`store_file.py` reads and writes them).

It is an ordinary HDF5 file that any HDF5 tool reads. HDF5 lays it out once (`hdf5_file.py`) and never opens it for
writing again, so its metadata do not change after that. Its datasets are contiguous, so a row is plain bytes at a known
offset:

    external_id (capacity,)      <i8   the logo's id; 0 is an empty slot, a negative id a deleted logo. An id may occur
                                       twice in a backup whose last run was interrupted: the later row counts
    crc32       (capacity,)      <u4   CRC-32 of the id's 8 bytes (as a positive number), then of the embedding's
    embedding   (capacity, dim)  <f4
    provenance  (capacity,)      the address of the logo's image, and its box there, with a CRC-32 of their own:
                                 512 bytes (`provenance.py`); stores of version 1 lack it

The datasets are allocated when the file is created, but never filled: unused rows are a hole that takes no space. The
ids come first, so a copy of a store in use, made from front to back, holds the content of every id that it holds.

The file begins with a user block, which HDF5 leaves to its users: one line with the offsets of the datasets, and the
CRC-32 of the line and of HDF5's metadata. So the service never needs libhdf5 to read a store: libhdf5 crashes on some
damaged files, and accepts others.

The user block names the version first. A store of version 1, without provenance, is read and written as it is, and a
rewrite turns it into version 2. Releases that know only version 1 refuse version 2; their `migrate-store` converts it,
without provenance, and keeps the file. This release refuses versions that it does not know.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from embeddings.errors import StoreLayoutError, StoreUnavailableError, storage_errors
from embeddings.store.provenance import RECORD_BYTES

_NAME = b"robotoff-ann store "
MAGIC = _NAME + b"2\n"  # of a store that keeps provenance
OLD_MAGIC = _NAME + b"1\n"  # of one that does not
HEADER_BYTES = 4096  # HDF5 accepts a power of two from 512; one page keeps the datasets aligned to pages
ID_BYTES = 8
CRC_BYTES = 4
_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # of HDF5, which looks for it at 0 and at the powers of two from 512
_ADVICE = "`manage.py migrate-store` takes it over if every row is whole; else restore it from a backup"


@dataclass(frozen=True, slots=True)
class ModelStamp:
    """Which model made the vectors of a store; both are empty if unknown, as in a store of the original."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Offsets:
    """Where the raw data of each dataset begins, in bytes from the start of the file; version 1 lacks `provenance`."""

    ids: int
    checksums: int
    embeddings: int
    provenance: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A store file's description of itself; `offsets` is None in the chunked layout of the original service."""

    capacity: int
    dim: int
    stamp: ModelStamp
    offsets: Offsets | None

    @property
    def end(self) -> int:
        """Where the last dataset of a store of ours ends, in bytes from the start of the file."""
        assert self.offsets is not None
        sizes = (
            (self.offsets.ids, ID_BYTES),
            (self.offsets.checksums, CRC_BYTES),
            (self.offsets.embeddings, 4 * self.dim),
            (self.offsets.provenance or 0, RECORD_BYTES if self.offsets.provenance else 0),
        )
        return max(begin + self.capacity * size for begin, size in sizes)


def has_header(fd: int) -> bool:
    """Return whether an open file begins with the header of a store, sound or not."""
    return _read(fd, 0, len(_NAME)) == _NAME or _read(fd, HEADER_BYTES, len(_SIGNATURE)) == _SIGNATURE


def read_header(fd: int, path: Path) -> Layout:
    """Read the layout of a store of ours from its header, without libhdf5.

    Raises:
        StoreLayoutError: the header is not whole, or belongs to another file.
        StoreUnavailableError: it cannot be read.
    """
    if not has_header(fd):
        raise StoreLayoutError(
            f"{path} is not a store of this version: if the original made it, run `manage.py migrate-store` (which "
            "keeps it); if it is damaged, restore it from a backup"
        )
    layout, metadata_crc32 = _decoded(_read(fd, 0, HEADER_BYTES), path)
    if layout.end > os.fstat(fd).st_size:
        raise StoreLayoutError(f"{path} is shorter than its layout says: restore it from a backup")
    if metadata_crc32 != _metadata_crc32(fd, layout):
        raise StoreLayoutError(f"{path} is damaged, or another tool rewrote it: {_ADVICE}")
    return layout


def keep_writers_out(fd: int, path: Path) -> None:
    """Keep other programs from opening a file for writing while it is open here.

    HDF5 takes an exclusive `flock` to write and a shared one to read; ours is shared.

    Raises:
        StoreUnavailableError: another program has it open for writing.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreUnavailableError(f"another program has {path} open for writing: stop it first") from error


def header_of(fd: int, layout: Layout) -> bytes:
    """Return the header for an open file that HDF5 has laid out, `HEADER_BYTES` long.

    Raises:
        ValueError: the model's name is too long for the header.
    """
    assert layout.offsets is not None
    assert layout.offsets.provenance is not None
    line = json.dumps({**dataclasses.asdict(layout), "metadata_crc32": _metadata_crc32(fd, layout)}).encode() + b"\n"
    header = MAGIC + line + f"{zlib.crc32(MAGIC + line):08x}\n".encode()
    if len(header) > HEADER_BYTES:
        raise ValueError(f"the model's name is too long for the header of a store: {layout.stamp.name[:40]}...")
    return header.ljust(HEADER_BYTES, b"\0")


def _decoded(header: bytes, path: Path) -> tuple[Layout, int]:
    if not header.startswith(_NAME):
        raise StoreLayoutError(f"the header of {path} is damaged: {_ADVICE}")
    content, _, checksum = header.rstrip(b"\0").removesuffix(b"\n").rpartition(b"\n")
    content += b"\n"
    if checksum != f"{zlib.crc32(content):08x}".encode():
        raise StoreLayoutError(f"the header of {path} is damaged: {_ADVICE}")
    magic, line = content[: len(MAGIC)], content[len(MAGIC) :]
    offsets = {MAGIC: {"ids", "checksums", "embeddings", "provenance"}, OLD_MAGIC: {"ids", "checksums", "embeddings"}}
    values = json.loads(line) if magic in offsets else {}
    known = {"capacity", "dim", "stamp", "offsets", "metadata_crc32"}
    if set(values) != known or set(values["offsets"]) != offsets[magic] or set(values["stamp"]) != {"name", "digest"}:
        raise StoreLayoutError(f"{path} was made by a later release of this service: use that, or another file")
    layout = Layout(values["capacity"], values["dim"], ModelStamp(**values["stamp"]), Offsets(**values["offsets"]))
    return layout, values["metadata_crc32"]


def _metadata_crc32(fd: int, layout: Layout) -> int:
    """Return the CRC-32 of what HDF5 wrote before the first dataset."""
    assert layout.offsets is not None
    return zlib.crc32(_read(fd, HEADER_BYTES, layout.offsets.ids - HEADER_BYTES))


def _read(fd: int, offset: int, size: int) -> bytes:
    content = b""
    with storage_errors("read the header of the store"):
        while part := os.pread(fd, size - len(content), offset + len(content)):
            content += part
    return content
