"""Retire the collections that were served before: release the last from memory, and drop older ones."""

from __future__ import annotations

import logging
import time

from index.errors import EngineError, IndexDamagedError
from index.milvus import collections
from index.milvus.client import Milvus
from index.milvus.collections import Collection

logger = logging.getLogger(__name__)


def retire(milvus: Milvus, answering: Collection, before: str | None, *, keep: int, grace_seconds: float) -> None:
    """Release the previous collection from memory, and drop older ones; if that fails, they stay.

    Args:
        milvus: the connection.
        answering: the collection that is served now.
        before: the name of the previous one.
        keep: number of collections to keep, including `answering`; at least 1.
        grace_seconds: time for every service to see the new alias.
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
