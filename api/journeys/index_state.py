"""The state of an index. Without it, a client would take the empty results before the first build for final."""

from __future__ import annotations

from enum import StrEnum

from index.errors import SearchError
from index.protocol import Catalog


class IndexState(StrEnum):
    """Whether an index answers searches."""

    EMPTY = "empty"
    """It holds no logos: none has been built yet."""
    SERVING = "serving"
    UNAVAILABLE = "unavailable"
    """Searches of it fail for now."""


def index_state(catalog: Catalog, name: str | None) -> IndexState:
    """Return the state of an index; `None` names the default one."""
    try:
        return IndexState.SERVING if len(catalog.get(name)) else IndexState.EMPTY
    except SearchError:
        return IndexState.UNAVAILABLE
