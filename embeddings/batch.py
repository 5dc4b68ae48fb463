"""What may be appended to a store."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embeddings.id_table import MAX_ID


def checked_batch(
    logo_ids: Sequence[int] | NDArray[np.int64], embeddings: ArrayLike, dim: int
) -> tuple[list[int], NDArray[np.float32]]:
    """Return the ids, each once, and their embeddings, (n, dim); of an id given twice, the first counts.

    Raises:
        ValueError: an id is no positive 64-bit integer, or an embedding has another length or is not finite.
    """
    try:
        ids = [operator.index(logo_id) for logo_id in logo_ids]
    except TypeError as error:
        raise ValueError(f"a logo id must be an integer: {error}") from error
    if not all(0 < logo_id <= MAX_ID for logo_id in ids):
        raise ValueError(f"a logo id must be from 1 to {MAX_ID}")
    with np.errstate(over="ignore"):
        vectors = np.asarray(embeddings, np.float32)
    if vectors.shape != (len(ids), dim) and (ids or vectors.size):
        raise ValueError(f"expected embeddings of shape {(len(ids), dim)}, not {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError("an embedding must hold finite numbers")
    first = {logo_id: place for place, logo_id in reversed([*enumerate(ids)])}
    if len(first) < len(ids):
        places = sorted(first.values())
        return [ids[place] for place in places], vectors[places]
    return ids, vectors
