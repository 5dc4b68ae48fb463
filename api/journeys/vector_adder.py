"""The vector journey: embeddings that a client computed, to rows of the store, in one append."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from api.journeys.attribute_setter import AttributeSetter
from api.journeys.stages import UNOBSERVED, Stage, Stages
from api.journeys.write_limit import WriteLimit
from embeddings.errors import SentEmbeddingError
from embeddings.sent_embeddings import decode_embeddings
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from index.cosine import has_direction
from index.vectors import usable_rows


@dataclass(frozen=True, slots=True)
class SentLogo:
    """A logo as a client sent it.

    Attributes:
        id: of the logo.
        embedding: see `decode_embeddings`.
        origin: the photo that it was cut from, if known.
        attributes: values to set by key; `None` removes one.
    """

    id: int
    embedding: object
    origin: Provenance | None = None
    attributes: Mapping[str, str | None] = field(default_factory=dict)


class VectorAdder:
    """Stores embeddings that clients computed, within limits.

    Args:
        store: the logos.
        setter: sets their attributes.
        cosine: whether vectors are compared by cosine; then zero vectors are rejected.
        limit: limits the requests that change the store at once.
        stages: records the time of appending.
        on_stored: called with the ids of new and replaced logos, once they are on disk.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        setter: AttributeSetter,
        *,
        cosine: bool,
        limit: WriteLimit,
        stages: Stages = UNOBSERVED,
        on_stored: Callable[[list[int]], None] | None = None,
    ) -> None:
        self._store = store
        self._setter = setter
        self._cosine = cosine
        self._limit = limit
        self._stages = stages
        self._on_stored = on_stored

    def add(self, logos: Sequence[SentLogo], *, replace: bool = False) -> int:
        """Store the logos in one append, and return how many are new. All are on disk by then.

        If an id occurs twice, its first embedding counts. Logos that are already stored are skipped, but attributes are
        merged for all, so a request that failed between the two writes can be sent again.

        Args:
            logos: what to store.
            replace: whether logos that are already stored get the new embedding and origin, each in one step.

        Raises:
            SentEmbeddingError: an embedding cannot be used; nothing was stored.
            AttributeValueError: an attribute cannot be stored; nothing was stored.
            StoreError: the store cannot store them.
            TooManyWritesError: as many requests as allowed are changing the store; try again.
        """
        ids = [logo.id for logo in logos]
        embeddings = decode_embeddings(ids, [logo.embedding for logo in logos], self._store.dim)
        self._refuse_unsearchable(ids, embeddings)
        attributes = {logo.id: logo.attributes for logo in reversed(logos) if logo.attributes}
        self._setter.check(attributes)
        origins = [logo.origin for logo in logos]
        with self._limit.turn():
            with self._stages.measure(Stage.APPEND):
                added = self._store.append(ids, embeddings, origins if any(origins) else None, replace=replace)
                if attributes:
                    self._setter.merge_in_turn(attributes)
            stored = [*dict.fromkeys(ids)] if replace else added
            if stored and self._on_stored is not None:
                with self._stages.measure(Stage.SEND):
                    self._on_stored(stored)
        return len(added)

    def _refuse_unsearchable(self, ids: Sequence[int], embeddings: NDArray[np.float32]) -> None:
        good = has_direction(embeddings) if self._cosine else usable_rows(embeddings)
        for row in np.flatnonzero(~good).tolist():
            reason = (
                "all values are 0; cosine distances compare directions, and it has none"
                if self._cosine
                else "its values are too large: distances to it overflow"
            )
            raise SentEmbeddingError(f"embedding of logo {ids[row]}: {reason}")
