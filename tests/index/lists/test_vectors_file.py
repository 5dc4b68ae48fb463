"""A copy of the vectors: what is damaged in it is noticed before it is returned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index.lists.vectors_file import VectorsFile, write_vectors
from tests.index.lists.samples import DIM, kept, logos_of


@pytest.mark.parametrize("dim", [DIM, 7])
def test_zeros_in_place_of_vectors_are_damage(tmp_path: Path, dim: int) -> None:
    ids, vectors = logos_of(5)
    write_vectors(tmp_path / "vectors", kept((ids, vectors[:, :dim])), ids)
    length = (tmp_path / "vectors").stat().st_size
    file = VectorsFile(tmp_path / "vectors", 5, dim)
    assert all(np.array_equal(np.asarray(file.vector(item)), vectors[item, :dim]) for item in range(5))

    (tmp_path / "zeros").write_bytes(bytes(length))
    zeros = VectorsFile(tmp_path / "zeros", 5, dim)
    assert [zeros.vector(item) for item in range(5)] == [None] * 5
    measured = zeros.measure(vectors[0, :dim], np.arange(5))
    assert not measured.sound(np.arange(5)).any()
