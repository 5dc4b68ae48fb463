"""The answer of `GET /api/v1/ann/stored`, written in pieces so that millions of ids are never in memory at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson

from embeddings.store.stored_ids import StoredIds

_HEAD, _TAIL = b'{"stored":[', b"]}"
_POWERS = [10**digits for digits in range(1, 19)]


def length(ids: StoredIds) -> int:
    """Return the total length of the pieces, in bytes."""
    logos = digits = 0
    for block in ids.blocks():
        logos += len(block)
        digits += len(block)
        largest = int(block.max()) if len(block) else 0
        digits += sum(int(np.count_nonzero(block >= power)) for power in _POWERS if power <= largest)
    return len(_HEAD) + digits + max(0, logos - 1) + len(_TAIL)


def pieces(ids: StoredIds) -> Iterator[bytes]:
    """Yield the JSON in pieces of a few hundred KB.

    Raises:
        StoreUnavailableError: see `StoredIds.blocks`.
    """
    before = _HEAD
    for block in ids.blocks():
        if len(block):
            yield before + orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
            before = b","
    yield (_HEAD if before == _HEAD else b"") + _TAIL
