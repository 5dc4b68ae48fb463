"""An acknowledged append of one logo, beside the two syncs that it needs at least."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from benchmarks.fixture import Fixture, settle
from benchmarks.logos import DIM, draw_logos
from benchmarks.table import Ratio, Row
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import RECORD_BYTES, Provenance
from embeddings.store.store import EmbeddingStore

CAPACITY = 100_000
APPENDS = 150  # a repetition
REACH = 1.5
CONTENT_BYTES = 4 * DIM + 4 + RECORD_BYTES
ID_BYTES = 8
ORIGIN = Provenance("https://images.openfoodfacts.org/images/products/327/408/000/5003/1.jpg", (0.41, 0.2, 0.6, 0.65))


def measure(fixture: Fixture) -> list[Row]:
    """Measure milliseconds, alternating append by append, because the disk's speed changes from second to second."""
    scale = fixture.scale
    fixture.say("append: the store and plain syncs in turns")
    path = fixture.scratch / "append.hdf5"
    prepare_store(path, capacity=CAPACITY, dim=DIM, stamp=ModelStamp("drawn", "drawn"))
    appends = APPENDS * scale.repetitions
    ((logo_ids, vectors),) = draw_logos(appends, scale.seed, block=appends)
    plain = os.open(fixture.scratch / "plain", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    ours, rival = [], []
    try:
        os.truncate(plain, CAPACITY * (CONTENT_BYTES + ID_BYTES))
        settle()
        with EmbeddingStore(path) as store:

            def append(row: int) -> None:
                store.append(logo_ids[row : row + 1], vectors[row : row + 1], [ORIGIN])

            for rows in np.split(np.arange(appends), scale.repetitions):
                pairs = [
                    (_milliseconds(append, row), _milliseconds(partial(_write_and_sync, plain), row))
                    for row in rows.tolist()
                ]
                appended, synced = zip(*pairs, strict=True)
                ours.append(median(appended))
                rival.append(median(synced))
            assert len(store) == appends
    finally:
        os.close(plain)
    ratio = Ratio.of(ours, rival)
    return [
        Row(
            "acknowledged append of one logo",
            f"{median(ours):.2f} ms",
            f"{median(rival):.2f} ms, two `pwrite` + `fdatasync` of {CONTENT_BYTES:,} and {ID_BYTES} bytes"
            " to a plain sparse file",
            ratio,
            f"at most {REACH} ×",
            ratio.median <= REACH,
        )
    ]


def _milliseconds(do: Callable[[int], object], row: int) -> float:
    started = time.perf_counter()
    do(row)
    return (time.perf_counter() - started) * 1e3


def _write_and_sync(file: int, row: int) -> None:
    os.pwrite(file, bytes(CONTENT_BYTES), ID_BYTES * CAPACITY + CONTENT_BYTES * row)
    os.fdatasync(file)
    os.pwrite(file, bytes(ID_BYTES), ID_BYTES * row)
    os.fdatasync(file)
