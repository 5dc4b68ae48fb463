"""What tests of changes share: a copy of the logos that follows a store, and what it was told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.store.changes import Changes
from embeddings.store.store import EmbeddingStore
from tests.stores import DIM


def alike(count: int, value: float = 0.0) -> NDArray[np.float32]:
    return np.full((count, DIM), value, np.float32)


def moment_of(store: EmbeddingStore) -> dict[str, Any]:
    """A mark as it is read from a file again."""
    moment: dict[str, Any] = json.loads(json.dumps(store.mark().as_json()))
    return moment


def told(changes: Changes) -> dict[str, Any]:
    return {
        "added": changes.added.tolist(),
        "deleted": changes.deleted,
        "readded": changes.readded,
        "complete": changes.complete,
    }


NOTHING: dict[str, Any] = {"added": [], "deleted": [], "readded": [], "complete": False}


class Copy:
    """A copy of the logos, kept as `index.milvus.feed` keeps one: what it holds is taken anew only if deleted."""

    def __init__(self) -> None:
        self.logos: dict[int, float] = {}
        self.moment: object = None

    def follow(self, store: EmbeddingStore) -> Changes:
        changes = store.since(self.moment)
        for logo_id in changes.deleted:
            self.logos.pop(logo_id, None)
        absent = [logo_id for logo_id in changes.added.tolist() if logo_id not in self.logos]
        sent = np.array(absent + changes.readded, np.int64)
        found = zip(sent.tolist(), store.vectors(sent)[:, 0].tolist(), strict=True)
        self.logos |= {logo_id: value for logo_id, value in found if not np.isnan(value)}
        self.moment = json.loads(json.dumps(changes.mark.as_json()))
        return changes
