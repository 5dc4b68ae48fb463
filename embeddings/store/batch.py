"""Check and hold the logos of one append."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embeddings.store.id_table import MAX_ID
from embeddings.store.provenance import Provenance, Records, no_records, records_of


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Logos to append.

    Attributes:
        ids: n ids.
        embeddings: (n, dim)
        records: (n,) their provenance records.
    """

    ids: list[int]
    embeddings: NDArray[np.float32]
    records: Records

    def at(self, places: Sequence[int]) -> Batch:
        """Return the logos at these places."""
        return Batch([self.ids[place] for place in places], self.embeddings[[*places]], self.records[[*places]])


def checked_batch(
    logo_ids: Sequence[int] | NDArray[np.int64],
    embeddings: ArrayLike,
    dim: int,
    provenance: Sequence[Provenance | None] | None = None,
) -> Batch:
    """Return the logos as a batch, each id once; of repeated ids the first counts.

    Raises:
        ValueError: an id is not a positive 64-bit integer, an embedding has another length or is not finite, or the
            number of provenances is not the number of ids.
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
    batch = Batch(ids, vectors, no_records(len(ids)) if provenance is None else records_of(ids, provenance))
    first = {logo_id: place for place, logo_id in reversed([*enumerate(ids)])}
    if len(first) < len(ids):
        return batch.at(sorted(first.values()))
    return batch
