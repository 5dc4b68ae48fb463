"""Migrate a store as the service does when it starts."""

from __future__ import annotations

from pathlib import Path

from embeddings.maintenance.rewrite import RewriteReport, prepare_store
from embeddings.store.layout import ModelStamp
from tests.stores import DIM, STAMP


def prepare(path: Path, capacity: int = 100, dim: int = DIM, stamp: ModelStamp = STAMP) -> RewriteReport | None:
    """Create or migrate a store, for a model of 4 values."""
    return prepare_store(path, capacity=capacity, dim=dim, stamp=stamp)


def names(directory: Path) -> list[str]:
    """Return the files of a directory, without locks and logs of deletions."""
    return sorted(path.name for path in directory.iterdir() if path.suffix not in (".lock", ".deleted"))
