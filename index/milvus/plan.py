"""How a collection in Milvus is built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """How a collection is built.

    Attributes:
        kind: the index type; see `index.milvus.kinds`.
        shards: number of shards.
        replicas: number of query nodes that hold each logo in memory.
        keep: number of collections to keep, including the new one; at least 1.
        seed: selects the logos that recall is measured on.
        resume: resume a build that was killed.
        patience_seconds: how long to wait for a Milvus that is away, or makes no progress.
        grace_seconds: time for every service to see the new alias.
    """

    kind: str
    shards: int = 1
    replicas: int = 1
    keep: int = 2
    seed: int = 0
    resume: bool = True
    patience_seconds: float = 3600.0
    grace_seconds: float = 10.0
