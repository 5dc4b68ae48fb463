"""Vectors added in bulks over the app, beside the parsing and the two syncs that each bulk takes at least."""

from __future__ import annotations

import base64
import os
import time
from statistics import median

import falcon.testing
import numpy as np
import orjson

from api.app import create_app
from benchmarks.fixture import Fixture, settle
from benchmarks.table import Ratio, Row, interleaved
from embeddings.collection.definition import CollectionDefinition
from embeddings.collection.directory import CollectionDirectory
from settings import Settings

DIM, BULK, BULKS = 512, 500, 6  # bulks of a repetition
REACH, RATE = 0.5, 20_000  # of the bare rate, or logos a second
ADDRESS = "/api/v1/ann/add_embeddings"


def measure(fixture: Fixture) -> list[Row]:
    """Measure logos a second, in turns from one repetition to the next, without the network."""
    scale = fixture.scale
    fixture.say("bulks of vectors: the app, and bare parsing and syncs in turns")
    vectors = np.random.default_rng(scale.seed).normal(size=(BULK, DIM)).astype("<f4")
    embeddings = [base64.b64encode(row.tobytes()).decode() for row in vectors]
    ids = iter(range(1, 10**9))
    data_dir = fixture.scratch / "vectors"
    data_dir.mkdir()
    CollectionDirectory(data_dir).create(CollectionDefinition("drawn", DIM, "cosine"))
    plain = os.open(fixture.scratch / "vectors.plain", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    app = create_app(Settings(data_dir=data_dir, store_capacity=10**6))
    client = falcon.testing.TestClient(app)

    def bulks() -> list[bytes]:
        return [
            orjson.dumps({"logos": [{"id": next(ids), "embedding": sent} for sent in embeddings]}) for _ in range(BULKS)
        ]

    def ours() -> float:
        sent = bulks()
        began = time.perf_counter()
        for body in sent:
            answer = client.simulate_post(
                ADDRESS, params={"index": "drawn"}, body=body, headers={"Content-Type": "application/json"}
            )
            assert answer.json == {"added": BULK}
        return BULK * BULKS / (time.perf_counter() - began)

    def bare() -> float:
        sent = bulks()
        began = time.perf_counter()
        for body in sent:
            _parse_and_sync(plain, body)
        return BULK * BULKS / (time.perf_counter() - began)

    try:
        os.truncate(plain, 2**31)
        settle()
        ours(), bare()  # opens the collection
        rates, bare_rates = interleaved(scale.repetitions, ours, bare)
    finally:
        os.close(plain)
        app.parts.close()
    ratio = Ratio.of(rates, bare_rates)
    return [
        Row(
            f"vectors of {DIM} values added in bulks of {BULK}, base64, without the network",
            f"{median(rates):,.0f}/s",
            f"{median(bare_rates):,.0f}/s, parsing of JSON and base64, and two `pwrite` + `fdatasync` a bulk",
            ratio,
            f"{REACH} ×, or {RATE:,}/s",
            ratio.median >= REACH or median(rates) >= RATE,
        )
    ]


def _parse_and_sync(file: int, body: bytes) -> None:
    logos = orjson.loads(body)["logos"]
    content = b"".join(base64.b64decode(logo["embedding"]) for logo in logos)
    ids = np.array([logo["id"] for logo in logos], np.int64)
    first = int(ids[0])
    os.pwrite(file, content, 2**23 + 4 * DIM * (first % 500_000))
    os.fdatasync(file)
    os.pwrite(file, ids.tobytes(), 8 * (first % 1_000_000))
    os.fdatasync(file)
