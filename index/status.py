"""How an index stands: what a catalog says of each, and the recall that was measured when it was built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ORIGINAL_PAIR = "original pair"

OnLoad = Callable[[str, bool], None]
"""Is told that an index was loaded: which, and whether it was taken in, for it may be damaged."""


@dataclass(frozen=True, slots=True)
class Recall:
    """The share of the true nearest logos that an index finds.

    Attributes:
        search_k: with this effort; see `index.annoy.engine`.
        at_10: of the ten nearest, the logo itself not counted.
        at_100: of the hundred nearest.
        queries: how many logos were asked for.
    """

    search_k: int
    at_10: float
    at_100: float
    queries: int


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How an index stands.

    Attributes:
        name: of the index.
        source: the generation that answers, by its name, or `ORIGINAL_PAIR`; empty if none does.
        items: logos that it answers from.
        trees: Annoy's trees; 0 in Milvus.
        recall: what was measured when it was built; `None` if that was not.
        built_at: when, in UTC; `None` if that is not known.
        directory: where its map lies; `None` if it can have none.
        error: why what belongs there is not what answers; `None` if it is.
    """

    name: str
    source: str = ""
    items: int = 0
    trees: int = 0
    recall: Recall | None = None
    built_at: datetime | None = None
    directory: Path | None = None
    error: str | None = None
