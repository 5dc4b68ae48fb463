"""Annoy alone, over the full vectors, as in the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from annoy import AnnoyIndex

from benchmarks.rivals.engine import Engine, FloatArray, Items, blocks

TREES = 100


class BareAnnoy(Engine):
    """A forest in a mapped file; its own default effort is count × trees."""

    title = f"Annoy, {TREES} trees"
    packages = ("annoy",)
    effort = "search_k"
    efforts = (1_000, 5_000, 10_000, 30_000, None, 60_000)

    def fit(self, vectors: FloatArray, folder: Path) -> None:
        dim = vectors.shape[1]
        building = AnnoyIndex(dim, "euclidean")
        building.on_disk_build(str(folder / "index.bin"))
        building.set_seed(1)
        for start, block in blocks(vectors):
            for row, vector in enumerate(block, start):
                building.add_item(row, vector)
        building.build(TREES, -1)
        building.unload()
        self._annoy = AnnoyIndex(dim, "euclidean")
        self._annoy.load(str(folder / "index.bin"))

    def set_effort(self, effort: int | None, count: int) -> None:
        self._search_k = -1 if effort is None else effort

    def query(self, vector: FloatArray, count: int) -> Items:
        return np.asarray(self._annoy.get_nns_by_vector(vector, count, self._search_k), np.int64)
