"""The service's own index: stored, built by `manage.py generate-index`, and loaded as the app loads it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from api.app import AnnApp, create_app
from benchmarks.rivals.engine import Engine, FloatArray, Items, blocks
from embeddings.store.store import EmbeddingStore
from runtime.startup import prepare
from settings import Settings
from tests.end_to_end.service import ROOT, environment


class Service(Engine):
    """The service's index, without HTTP; item `i` is logo `i + 1`. Time and bytes include the store."""

    title = "robotoff-ann"
    packages = ("annoy", "faiss-cpu", "numpy")
    effort = "search_k"
    efforts = (300, 500, None, 700, 1_000, 2_000)
    numpy_in_queries = True

    _app: AnnApp | None = None

    def fit(self, vectors: FloatArray, folder: Path) -> None:
        self._settings = settings = Settings(data_dir=folder, store_capacity=len(vectors))
        prepare(settings)
        with EmbeddingStore(settings.store_path) as store:
            for start, block in blocks(vectors):
                store.append(np.arange(start + 1, start + 1 + len(block)), block)
        subprocess.run(
            [sys.executable, "manage.py", "generate-index", "--compare", "0"],
            cwd=ROOT,
            env=environment(folder, TMPDIR=str(folder), ANN_MAP_POINTS="0"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def set_effort(self, effort: int | None, count: int) -> None:
        self.close()
        self._app = create_app(replace(self._settings, search_k=effort))
        self._index = self._app.parts.catalog.get(None)

    def query(self, vector: FloatArray, count: int) -> Items:
        return np.asarray(self._index.nearest_to_vector(vector, count).logo_ids, np.int64) - 1

    def close(self) -> None:
        if self._app is not None:
            self._app.parts.close()
            self._app = None
