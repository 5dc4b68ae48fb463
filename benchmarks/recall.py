"""How many of the true nearest logos the service returns, beside Annoy alone with its own default effort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean

import numpy as np

from benchmarks.fixture import Fixture
from benchmarks.logos import DIM
from benchmarks.rivals.vectors import count_found
from benchmarks.table import Ratio, Row
from embeddings.store.store import EmbeddingStore
from index.exact import ExactIndex
from index.loading import load_index
from settings import Settings

QUERIES = 200
REACH = {10: 0.99, 100: 0.95}


def measure(fixture: Fixture) -> list[Row]:
    """Measure recall with the service's default settings."""
    indexed, scale = fixture.indexed, fixture.scale
    fixture.say("recall: exact search")
    store = EmbeddingStore(Settings(data_dir=indexed.data_dir).store_path, writable=False)
    snapshot = store.snapshot()
    indexed_rows = len(indexed.logo_ids)  # other rows of the table may have added logos after these
    vectors = np.concatenate([block for _, block in snapshot.blocks()])[:indexed_rows]
    logo_ids = indexed.logo_ids.tolist()
    items = fixture.sample(QUERIES).tolist()
    exact = ExactIndex(indexed.logo_ids, vectors)
    largest = min(max(REACH), len(logo_ids))
    row_of = {logo_id: row for row, logo_id in enumerate(logo_ids)}
    truth = [[row_of[i] for i in exact.nearest_to_logo(logo_ids[item], largest).logo_ids] for item in items]
    engine = load_index(indexed.index_dir, dim=DIM, vectors=store.vectors, search_k=Settings().search_k)
    annoy = fixture.bare_annoy()

    def recall(search: Callable[[int, int], Sequence[int]], count: int) -> float:
        hits = (
            count_found(vectors, vectors[item], search(item, count), true[:count])
            for item, true in zip(items, truth, strict=True)
        )
        return mean(hits) / count

    rows = []
    for wanted, reach in REACH.items():
        count = min(wanted, len(logo_ids))
        ours = recall(lambda item, k: [row_of[i] for i in engine.nearest_to_logo(logo_ids[item], k).logo_ids], count)
        rival = recall(annoy.get_nns_by_item, count)
        rows.append(
            Row(
                f"recall@{count} against exact search, {scale.logos:,} drawn logos",
                f"{ours:.4f}",
                f"{rival:.4f}, plain Annoy, {scale.trees} trees, its own default search_k",
                Ratio.of([ours], [rival]),
                f"{reach}, never below",
                ours >= max(reach, rival),
            )
        )
    store.close()
    return rows
