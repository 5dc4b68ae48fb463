"""`GET /stored` of a large store: the answer is written in pieces, and equals one written at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import falcon.testing
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import api.routes.logos
from api.answers import stored_answer
from embeddings.errors import StoreUnavailableError
from embeddings.maintenance.repair import QUARANTINED
from embeddings.maintenance.rewrite import rewrite_store
from embeddings.store.layout import ModelStamp
from embeddings.store.seen_rows import BLOCK
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_file import StoreFile
from embeddings.store.store_path import create_store
from embeddings.store.stored_ids import StoredIds

LOGOS = 3 * BLOCK + 7


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    """Create a store of many logos. Every third is deleted, and so is the whole middle block."""
    path = tmp_path / "s.hdf5"
    create_store(path, capacity=LOGOS + 5000, dim=1, stamp=ModelStamp("", ""))
    slots = np.random.default_rng(0).permutation(np.int64(10) ** (np.arange(LOGOS) % 19) + np.arange(LOGOS))
    slots[::3] *= -1
    slots[BLOCK : 2 * BLOCK] = -np.abs(slots[BLOCK : 2 * BLOCK])
    file = StoreFile(path, writable=True)
    file.write_content(0, slots, np.zeros((LOGOS, 1), np.float32))
    file.write_ids(0, slots)
    with EmbeddingStore(path) as store:
        yield store


def at_once(ids: NDArray[np.int64]) -> bytes:
    return orjson.dumps({"stored": ids}, option=orjson.OPT_SERIALIZE_NUMPY)


def in_pieces(ids: StoredIds) -> bytes:
    body = b"".join(stored_answer.pieces(ids))
    assert len(body) == stored_answer.length(ids)
    return body


def test_pieces_equal_the_answer_written_at_once(store: EmbeddingStore) -> None:
    assert in_pieces(StoredIds(store.seen())) == at_once(store.ids())


@given(st.lists(st.integers(1, 2**63 - 1) | st.integers(0, 18).map(lambda digits: 10**digits), max_size=30))
def test_length_is_known_beforehand(ids: list[int]) -> None:
    class Ids:
        def blocks(self) -> Iterator[NDArray[np.int64]]:
            yield from np.split(np.array(ids, np.int64), [0, len(ids) // 2])

    assert in_pieces(Ids()) == at_once(np.array(ids, np.int64))  # type: ignore[arg-type]


def test_answer_is_a_snapshot_even_if_the_store_changes(store: EmbeddingStore) -> None:
    expected = at_once(store.ids())
    ids = StoredIds(store.seen())
    store.delete(store.ids().tolist()[:5])
    store.append([5], np.zeros((1, 1), np.float32))
    rewrite_store(store.path)
    assert at_once(store.ids()) != expected
    assert in_pieces(ids) == expected


def test_row_that_is_repaired_meanwhile_ends_the_answer(store: EmbeddingStore) -> None:
    ids = StoredIds(store.seen())
    StoreFile(store.path, writable=True).write_ids(1, np.array([QUARANTINED]))
    with pytest.raises(StoreUnavailableError, match="try again"):
        in_pieces(ids)


def test_small_and_large_answers_look_the_same(
    client: falcon.testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = client.simulate_get("/api/v1/ann/stored")
    monkeypatch.setattr(api.routes.logos, "BLOCK", 10)
    in_pieces = client.simulate_get("/api/v1/ann/stored")
    assert in_pieces.content == at_once.content
    assert {**in_pieces.headers, "x-request-id": ""} == {**at_once.headers, "x-request-id": ""}


def test_memory_is_one_bit_per_row(store: EmbeddingStore) -> None:
    assert StoredIds(store.seen()).nbytes == -(-LOGOS // 8)
