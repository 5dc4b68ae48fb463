"""Files as the original service laid them out, for tests that serve or migrate them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

DIM = 1280


def random_vectors(count: int, seed: int = 7) -> NDArray[np.float32]:
    """Vectors that look like max-pooled activations: clustered and not negative."""
    rng = np.random.default_rng(seed)
    centres = rng.gamma(2.0, 1.0, size=(12, DIM))
    noise = rng.normal(0.0, 0.35, size=(count, DIM))
    return np.maximum(centres[rng.integers(0, 12, count)] + noise, 0).astype(np.float32)


def write_store(path: Path, logo_ids: list[int], vectors: NDArray[np.float32], capacity: int = 500) -> None:
    """Write the original's store: chunked datasets, 0 for an empty row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        embedding = file.create_dataset("embedding", (capacity, DIM), dtype="f", chunks=True)
        external_id = file.create_dataset("external_id", (capacity,), dtype="i", chunks=True)
        embedding[: len(vectors)] = vectors
        external_id[: len(logo_ids)] = logo_ids


def write_pair(directory: Path, logo_ids: list[int], vectors: NDArray[np.float32], trees: int = 10) -> None:
    """Write the original's index: `index.bin` and the ids of its items in `index.txt`."""
    directory.mkdir(parents=True, exist_ok=True)
    index = AnnoyIndex(vectors.shape[1], "euclidean")
    for item, vector in enumerate(vectors):
        index.add_item(item, vector.tolist())
    index.build(trees)
    index.save(str(directory / "index.bin"))
    (directory / "index.txt").write_text("".join(f"{logo_id}\n" for logo_id in logo_ids))
