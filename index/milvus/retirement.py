"""What becomes of the collections that answered before: the last is kept out of memory, older ones go."""

from __future__ import annotations

import logging
import time

from index.errors import EngineError, IndexDamagedError
from index.milvus import collections
from index.milvus.client import Milvus
from index.milvus.collections import Collection

logger = logging.getLogger(__name__)


def retire(milvus: Milvus, answering: Collection, before: str | None, *, keep: int, grace_seconds: float) -> None:
    """Release what answered before from memory, and drop what is older still; if that fails, they stay.

    Args:
        milvus: the connection.
        answering: what answers now.
        before: the name of what did.
        keep: collections that stay, `answering` among them; at least 1.
        grace_seconds: until every service has seen the new alias.
    """
    try:
        names = collections.collections_of(milvus, answering.record.index)
        older = [name for name in names if name != answering.name and _is_whole(milvus, name)]
        older.sort(key=lambda name: (name == before, name))
        kept = older[max(0, len(older) - keep + 1) :]
        if older:
            time.sleep(grace_seconds)
        for name in older:
            method = "release_collection" if name in kept else "drop_collection"
            milvus.call(method, name, seconds=milvus.connection.query_seconds)
    except EngineError as error:
        logger.warning("older collections of %s stay: %s", answering.record.index, error)


def _is_whole(milvus: Milvus, name: str) -> bool:
    try:
        found = collections.describe(milvus, name)
    except IndexDamagedError:
        found = None
    if found is not None and found.record.items:
        return True
    logger.warning("the collection %s is half filled: drop it if no other machine is building it", name)
    return False
