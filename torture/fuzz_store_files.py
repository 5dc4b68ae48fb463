"""Hostile store files: what the service and `manage.py` may do with them.

An error of the embeddings room is always allowed; so is a store that serves no wrong embedding and loses nothing that
it served. A file of the original has no checksums: a changed byte in a vector or an id cannot be noticed, so only
crashes, hangs, memory and other exceptions count.

Three kinds are read with libhdf5, once, before they are migrated: a file of the original, a store of an early build,
and one of ours without its header, which `manage.py migrate-store` is to convert.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from embeddings.errors import EmbeddingsError
from embeddings.maintenance.rewrite import prepare_store, rewrite_store
from embeddings.store.layout import HEADER_BYTES
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import create_store, inspect
from torture.expectation import STAMP, provenance_of, vectors_of
from torture.fuzz_case import Case
from torture.fuzz_child import Limits
from torture.fuzz_mutation import mutate, near_content

_OURS, _HEADERLESS, _EARLY = "store", "store without its header", "store of an early build"
_ORIGINAL, _LATEST = "original's store", "original's store in HDF5's latest format"
_DIM, _CAPACITY = 8, 32
_IDS = [*range(1, 13), 2**31 - 1]
_DELETED = 5
_NEW = [1001, 1002, 1003]


@dataclass(frozen=True, slots=True)
class _Sample:
    content: bytes
    spots: list[int]


class StoreFiles:
    """Stores of ours, and files of the original.

    Args:
        directory: a directory to create the good files in.
    """

    limits = Limits()

    def __init__(self, directory: Path) -> None:
        ours = _ours(directory / "ours.hdf5")
        self._samples = {
            _OURS: ours,
            _HEADERLESS: _without_header(ours),
            _EARLY: _of_an_early_build(ours),
            _ORIGINAL: _original(directory / "original.hdf5", "i"),
            _LATEST: _original(directory / "latest.hdf5", "i8", libver="latest"),
        }
        self.samples = list(self._samples)

    def spoil(self, number: int, sample: str, chance: random.Random) -> Case:
        """Change the file, mostly its metadata."""
        content, changes = mutate(self._samples[sample].content, self._samples[sample].spots, chance)
        return Case(number, sample, changes, {"s.hdf5": content})

    def attempt(self, case: Case, directory: Path) -> list[str]:
        """Migrate a store without a header, start with it, read all of it, append to it and compact it."""
        path = directory / "s.hdf5"
        trial = _Trial(path, has_checksums=case.sample in (_OURS, _HEADERLESS, _EARLY))
        with suppress(EmbeddingsError):
            if case.sample == _HEADERLESS:
                rewrite_store(path)
            inspect(path)
            prepare_store(path, capacity=_CAPACITY, dim=_DIM, stamp=STAMP)
            trial.read_append_and_compact()
        return trial.wrong


class _Trial:
    def __init__(self, path: Path, *, has_checksums: bool) -> None:
        self.wrong: list[str] = []
        self._path = path
        self._has_checksums = has_checksums
        self._served: set[int] = set()

    def read_append_and_compact(self) -> None:
        with EmbeddingStore(self._path) as store:
            self._served = self._read(store)
            len(store)
            [*store.verify()]
            with suppress(EmbeddingsError):
                self._served.update(store.append(_NEW, vectors_of(_NEW, _DIM), provenance_of(_NEW)))
        self._look_for_losses("an append")
        with suppress(EmbeddingsError):
            rewrite_store(self._path)
        self._look_for_losses("a compaction")

    def _look_for_losses(self, after: str) -> None:
        try:
            with EmbeddingStore(self._path) as store:
                lost = self._served - self._read(store)
        except EmbeddingsError as error:
            self.wrong.append(f"{after} left a store that cannot be opened: {error}")
            return
        if lost:
            self.wrong.append(f"{after} lost {sorted(lost)}")
            self._served -= lost

    def _read(self, store: EmbeddingStore) -> set[int]:
        """Return the ids whose embeddings the store returns; note those that are wrong."""
        served = set()
        for logo_id in [*_IDS, *_NEW, 77]:
            try:
                embedding = store.get(logo_id)
            except (KeyError, EmbeddingsError):
                continue
            served.add(logo_id)
            if self._has_checksums and not np.array_equal(embedding, vectors_of([logo_id], store.dim)[0]):
                self.wrong.append(f"a wrong embedding of logo {logo_id} was served")
        for ids, embeddings, origins in store.snapshot().blocks_with_provenance():
            if self._has_checksums and not np.array_equal(embeddings, vectors_of(ids, store.dim)):
                self.wrong.append(f"a snapshot holds a wrong embedding of one of the logos {ids.tolist()}")
            if any(origin not in (None, due) for origin, due in zip(origins, provenance_of(ids.tolist()), strict=True)):
                self.wrong.append(f"a snapshot holds wrong provenance of one of the logos {ids.tolist()}")
        few = [*_IDS, *_NEW]
        if any(origin != provenance_of([logo_id])[0] for logo_id, origin in store.provenance(few).items()):
            self.wrong.append("wrong provenance was served")
        if self._has_checksums and _DELETED in served:
            self.wrong.append(f"logo {_DELETED}, which was deleted, is back")
        return served


def _ours(path: Path) -> _Sample:
    create_store(path, capacity=_CAPACITY, dim=_DIM, stamp=STAMP)
    with EmbeddingStore(path) as store:
        store.append(_IDS, vectors_of(_IDS, _DIM), provenance_of(_IDS))
        store.delete([_DELETED])
    with h5py.File(path, "r") as hdf5:
        data = {
            place
            for dataset in hdf5.values()
            for place in range(dataset.id.get_offset(), dataset.id.get_offset() + dataset.nbytes)
        }
    content = path.read_bytes()
    return _Sample(content, [place for place in near_content(content) if place not in data])


def _without_header(ours: _Sample) -> _Sample:
    content = bytes(HEADER_BYTES) + ours.content[HEADER_BYTES:]
    return _Sample(content, [place for place in ours.spots if place >= HEADER_BYTES])


def _of_an_early_build(ours: _Sample) -> _Sample:
    """Remove the user block, which early builds did not have."""
    return _Sample(ours.content[HEADER_BYTES:], [place - HEADER_BYTES for place in ours.spots if place >= HEADER_BYTES])


def _original(path: Path, id_type: str, libver: str = "earliest") -> _Sample:
    with h5py.File(path, "w", libver=libver) as hdf5:
        hdf5.create_dataset("embedding", (_CAPACITY, _DIM), "f", chunks=(7, 3))[: len(_IDS)] = vectors_of(_IDS, _DIM)
        hdf5.create_dataset("external_id", (_CAPACITY,), id_type, chunks=True)[: len(_IDS)] = _IDS
    content = path.read_bytes()
    return _Sample(content, near_content(content))
