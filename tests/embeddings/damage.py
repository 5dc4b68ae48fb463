"""Stores of a few logos, and ways to damage them, for the tests of verify, repair and backup."""

from __future__ import annotations

from pathlib import Path

from embeddings.store.layout import Layout, Offsets
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store, inspect
from torture.expectation import STAMP, provenance_of, vectors_of

DIM = 4


def store_of(path: Path, *ids: int, capacity: int = 100) -> EmbeddingStore:
    """Return a new store that holds `vectors_of` these ids, in this order."""
    create_store(path, capacity=capacity, dim=DIM, stamp=STAMP)
    store = EmbeddingStore(path)
    store.append(ids, vectors_of(ids, DIM), provenance_of(ids))
    return store


def damage_embedding(path: Path, row: int) -> None:
    """Overwrite two bytes of an embedding."""
    _write(path, embedding_offset(path, row), b"\xff\xff")


def damage_id(path: Path, row: int, value: int) -> None:
    """Overwrite an id slot with another number."""
    _write(path, _offsets(path).ids + 8 * row, value.to_bytes(8, "little", signed=True))


def damage_provenance(path: Path, row: int, byte: int = 3) -> None:
    """Flip the bits of a byte of a row's provenance."""
    offset = (_offsets(path).provenance or 0) + 512 * row + byte
    _write(path, offset, bytes([path.read_bytes()[offset] ^ 0xFF]))


def embedding_offset(path: Path, row: int) -> int:
    """Return where an embedding begins, in bytes from the start of the file."""
    return _offsets(path).embeddings + row * 4 * _layout(path).dim


def _offsets(path: Path) -> Offsets:
    offsets = _layout(path).offsets
    assert offsets
    return offsets


def _layout(path: Path) -> Layout:
    layout = inspect(path)
    assert layout
    return layout


def _write(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
