"""Vectors are measured before their checksums are compared, and no damaged one is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import inspect
from index.exact import ExactIndex
from index.lists.rows import UncheckedVectors, measure_stored
from index.loading import load_index
from tests.index.lists.samples import DIM, build, logos_of, some_vectors

VECTORS = some_vectors(50)
IDS = np.arange(1, 51)


@dataclass
class SomeRows:
    """Rows of which some do not agree with their checksums; `compared` says for which that was asked."""

    vectors: NDArray[np.float32]
    damaged: list[int]
    compared: list[int] = field(default_factory=list)

    def __call__(self, logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        raise AssertionError("all checksums would be compared")

    def unchecked(self, logo_ids: NDArray[np.int64]) -> SomeRows:
        return self

    def sound(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        self.compared += places.tolist()
        return ~np.isin(places, self.damaged)


def test_checksums_are_compared_for_what_is_answered_alone() -> None:
    rows = SomeRows(VECTORS, [])
    places, distances = measure_stored(rows, VECTORS[7], IDS).nearest(5)
    exact = np.linalg.norm(VECTORS.astype(np.float64) - VECTORS[7], axis=1)
    assert places.tolist() == np.argsort(exact)[:5].tolist() == rows.compared
    assert distances == pytest.approx(np.sort(exact)[:5], rel=1e-5)


def test_a_damaged_row_is_replaced_by_the_next() -> None:
    order = np.argsort(np.linalg.norm(VECTORS - VECTORS[7], axis=1)).tolist()
    places, _ = measure_stored(SomeRows(VECTORS, order[1:4]), VECTORS[7], IDS).nearest(5)
    assert places.tolist() == [order[0], *order[4:8]]
    assert len(measure_stored(SomeRows(VECTORS, order[5:]), VECTORS[7], IDS).nearest(20)[0]) == 5


@pytest.mark.parametrize("content", [np.nan, np.inf, 3e38])
def test_a_row_of_anything_is_no_neighbour(content: float) -> None:
    vectors = VECTORS.copy()
    vectors[3] = content
    places, distances = measure_stored(SomeRows(vectors, []), VECTORS[7], IDS).nearest(50)
    assert 3 not in places
    assert np.isfinite(distances).all()


def test_equally_near_rows_come_in_their_order() -> None:
    vectors = np.repeat(VECTORS[:2], 10, axis=0)
    assert measure_stored(SomeRows(vectors, []), VECTORS[0], IDS[:20]).nearest(10)[0].tolist() == list(range(10))


def test_a_damaged_row_of_a_store_is_never_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logos = logos_of(1500)
    path = tmp_path / "store.hdf5"
    prepare_store(path, capacity=2000, dim=DIM, stamp=ModelStamp("m", "d"))
    with EmbeddingStore(path) as store:
        store.append(*logos)
        assert isinstance(store.vectors, UncheckedVectors)
        build(tmp_path / "index", logos)
        index = load_index(tmp_path / "index", dim=DIM, vectors=store.vectors, search_k=1500)
        nearest = ExactIndex(*logos).nearest_to_vector(logos[1][0], 30)
        assert index.nearest_to_vector(logos[1][0], 30).logo_ids == nearest.logo_ids
        damaged = nearest.logo_ids[3]
        layout = inspect(path)
        assert layout is not None
        assert layout.offsets is not None
        with path.open("r+b") as file:  # a little: it looks as near as before
            file.seek(layout.offsets.embeddings + 4 * DIM * logos[0].tolist().index(damaged))
            file.write(b"\xff\xff")

        found = index.nearest_to_vector(logos[1][0], 29)

        assert found.logo_ids == [logo_id for logo_id in nearest.logo_ids if logo_id != damaged]
        assert f"of logos {damaged}" in caplog.text
        assert (
            damaged not in index.prefetched(logos[0][:40].tolist(), 20).nearest_to_logo(int(logos[0][0]), 20).logo_ids
        )
