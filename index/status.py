"""The status of an index, as a catalog reports it, and the recall measured when it was built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ORIGINAL_PAIR = "original pair"

OnLoad = Callable[[str, bool], None]
"""Called after an index was loaded, with its name and whether it was usable: False if it was damaged."""


@dataclass(frozen=True, slots=True)
class Recall:
    """The share of the true nearest logos that an index finds.

    Attributes:
        search_k: the search effort; see `index.annoy.engine`.
        at_10: of the ten nearest, not counting the logo itself.
        at_100: of the hundred nearest.
        queries: number of logos that were searched for.
    """

    search_k: int
    at_10: float
    at_100: float
    queries: int


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The status of an index.

    Attributes:
        name: its name.
        source: the name of the generation that is served, or `ORIGINAL_PAIR`; empty if none is served.
        items: number of logos in it.
        trees: number of Annoy's trees; 0 in Milvus.
        recall: the recall measured when it was built; `None` if not measured.
        built_at: build time in UTC; `None` if unknown.
        directory: the directory of its map and its survey of distances; `None` if it can have none.
        error: why the newest files are not served; `None` if they are.
    """

    name: str
    source: str = ""
    items: int = 0
    trees: int = 0
    recall: Recall | None = None
    built_at: datetime | None = None
    directory: Path | None = None
    error: str | None = None
