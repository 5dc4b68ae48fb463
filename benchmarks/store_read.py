"""One stored vector by its id, beside h5py on the original's layout."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.fixture import Fixture, settle
from benchmarks.logos import DIM, draw_logos
from benchmarks.original_service import CHUNK, create_store
from benchmarks.table import Ratio, Row, interleaved
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore

READS = 5000
RIVAL_READS = 20
REACH = 10.0


def measure(fixture: Fixture) -> list[Row]:
    """Measure microseconds, with both files in the page cache."""
    scale = fixture.scale
    fixture.say(f"read: storing {scale.stored_logos} logos in both layouts")
    path, original = fixture.scratch / "read.hdf5", fixture.scratch / "original.hdf5"
    prepare_store(path, capacity=scale.stored_logos, dim=DIM, stamp=ModelStamp("drawn", "drawn"))
    with EmbeddingStore(path) as store:
        _fill(store, original, scale.stored_logos, scale.seed)
        logo_ids = store.ids()
        settle()
        rows = np.random.default_rng(scale.seed).integers(0, len(logo_ids), READS)

        def ours() -> float:
            return _microseconds(store.get, logo_ids[rows].tolist())

        def rival() -> float:
            return _microseconds(lambda row: _look_up(original, row), rows[:RIVAL_READS].tolist())

        assert all((store.get(int(logo_ids[row])) == _look_up(original, row)).all() for row in rows[:3].tolist())
        fixture.say("read: the store and h5py in turns")
        read, by_h5py = interleaved(scale.repetitions, ours, rival)
    ratio = Ratio.of(by_h5py, read)
    return [
        Row(
            f"a stored vector by its id, of {scale.stored_logos:,}",
            f"{median(read):.1f} µs",
            f"{median(by_h5py):,.0f} µs, h5py opening the original's layout (chunks of"
            f" {CHUNK[0]:,} × {CHUNK[1]}) and reading the row",
            ratio,
            f"{REACH:g} ×",
            ratio.median >= REACH,
        )
    ]


def _fill(store: EmbeddingStore, original: Path, count: int, seed: int) -> None:
    with create_store(original, count) as file:
        start = 0
        for logo_ids, vectors in draw_logos(count, seed, block=CHUNK[0]):
            store.append(logo_ids, vectors)
            file["embedding"][start : start + len(vectors)] = vectors
            file["external_id"][start : start + len(vectors)] = logo_ids
            start += len(vectors)


def _look_up(original: Path, row: int) -> NDArray[np.float32]:
    with h5py.File(original, "r") as file:
        vector: NDArray[np.float32] = file["embedding"][row]
        return vector


def _microseconds(read: Callable[[int], object], keys: Sequence[int]) -> float:
    started = time.perf_counter()
    for key in keys:
        read(key)
    return (time.perf_counter() - started) / len(keys) * 1e6
