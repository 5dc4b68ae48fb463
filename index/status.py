"""How an index stands: what a catalog says of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from index.recall import Recall

ORIGINAL_PAIR = "original pair"

OnLoad = Callable[[str, bool], None]
"""Is told that an index was loaded: which, and whether it was taken in, for it may be damaged."""


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
