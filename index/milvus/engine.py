"""The Milvus engine: find neighbours in a collection.

Milvus returns squared distances, whose roots are taken here, and orders equally near logos arbitrarily. It holds the
vectors too, but the store is nearer: a logo's vector is fetched from the engine only if the store does not have it, so
that a service without the store can also answer.

A logo that was sent after the build (`in_build` is false) is found, but is not yet indexed: it is not among its own
neighbours and is never the random one, as with the other engines.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import EngineTimeoutError
from index.files.logo_ids import MAX_LOGO_ID
from index.milvus.client import Milvus
from index.milvus.collections import Collection
from index.milvus.kinds import search_params
from index.milvus.prefetched import Prefetched
from index.protocol import Neighbours, SearchIndex, Vectors
from index.vectors import as_query, check_count, usable_rows

MOST_NEIGHBOURS = 16_384
"""The largest number of neighbours that Milvus returns for one query."""

MOST_SELECTED = 10_000
"""The largest number of logos that a filter names to Milvus: 100 KB a query."""

DEFAULT_EFFORT = 100
"""The effort of a search in a collection whose recall was not measured; see `index.milvus.kinds.search_params`."""

_IDS_A_MESSAGE = 8_192
_VECTORS_A_QUERY = 32  # Milvus Lite needs memory for all distances at once, and a server a fraction of a second
_STORED_DRAWN = 16  # stored logos to draw a random one from
_DRAWN = 1_000  # logos of the engine to draw it from, if it holds none of those


class MilvusSearchIndex:
    """A loaded collection.

    Args:
        milvus: the connection.
        collection: the collection to search.
        vectors: returns the vectors of logos that are stored here.
        effort: see `index.milvus.kinds.search_params`.
        stored_logo: returns the id of some stored logo; `None` if none is stored.

    Attributes:
        items: number of logos, as of the last check.
    """

    trees = 0

    def __init__(
        self,
        milvus: Milvus,
        collection: Collection,
        vectors: Vectors,
        effort: int,
        *,
        stored_logo: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.items = collection.record.items
        self.recall = collection.record.recall
        self.built_at = datetime.fromisoformat(collection.record.built_at) if collection.record.built_at else None
        self.collection = collection
        self._milvus = milvus
        self._vectors = vectors
        self._effort = effort
        self._stored_logo = stored_logo
        self._selected: NDArray[np.int64] | None = None  # the ids of the logos to search, ascending; `None` for all

    @property
    def dim(self) -> int:
        """The number of values in a vector."""
        return self.collection.dim

    def __len__(self) -> int:
        return self.items if self._selected is None else min(self.items, len(self._selected))

    def __contains__(self, logo_id: int) -> bool:
        return 0 < logo_id <= MAX_LOGO_ID and not len(self.absent(np.array([logo_id])))

    def absent(self, logo_ids: NDArray[np.int64], *, strong: bool = False) -> NDArray[np.int64]:
        """Return the ids of `(n,)` that the collection lacks, in their order; `strong` also sees the latest writes."""
        return logo_ids[~np.isin(logo_ids, [*self._held(logo_ids, None, strong=strong)])]

    def of_build(self, logo_ids: NDArray[np.int64], *, strong: bool = False) -> NDArray[np.int64]:
        """Return the ids of `(n,)` that are in the collection and were not sent after the build, in their order."""
        held = self._held(logo_ids, None, strong=strong)
        return logo_ids[[held.get(logo_id, False) for logo_id in logo_ids.tolist()]]

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to one in the collection: itself first, at distance 0, if it is indexed."""
        check_count(count)
        return self.to_logo(logo_id, count, self._deadline())

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` float32 vector."""
        check_count(count)
        return self.to_vector(vector, count, self._deadline())

    def to_logo(self, logo_id: int, count: int, deadline: float) -> Neighbours:
        """Do as `nearest_to_logo`, with a deadline on the monotonic clock."""
        found, _ = self._nearest_to_logos([logo_id], count, deadline)
        near = found[logo_id]
        if near is None:
            raise KeyError(logo_id)
        return near

    def to_vector(self, vector: NDArray[np.float32], count: int, deadline: float) -> Neighbours:
        """Do as `nearest_to_vector`, with a deadline on the monotonic clock."""
        (hits,) = self._search(as_query(vector, self.dim)[np.newaxis], count, ["logo_id"], deadline)
        return _neighbours(hits)

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Return an index that already has the neighbours of these logos, from a few round trips for all of them."""
        check_count(count)
        if len(logo_ids) < 2:
            return self
        deadline = self._deadline()
        return Prefetched(self, count, deadline, *self._nearest_to_logos(logo_ids, count, deadline))

    def among(self, logo_ids: NDArray[np.int64]) -> MilvusSearchIndex | None:
        """Return an index of those of some logos, `(n,)` ascending, that Milvus has; `None` if a query names too many.

        The expression names the logos, not their attributes: these change often, and Milvus would need the vector of a
        logo again for each change.
        """
        if len(logo_ids) > MOST_SELECTED:
            return None
        index = copy.copy(self)
        index._selected = logo_ids
        return index

    def random_logo(self) -> int | None:
        """Return the id of some indexed logo: a stored one, if one of a few random stored logos is indexed."""
        deadline = self._deadline()
        if self._selected is not None:
            indexed = [logo_id for logo_id, in_build in self._held(self._selected, deadline).items() if in_build]
            return random.choice(indexed) if indexed else None  # noqa: S311 - no secret
        drawn = {self._stored_logo() for _ in range(_STORED_DRAWN)} if self.items else set()
        stored = np.array([logo_id for logo_id in drawn if logo_id is not None], np.int64)
        indexed = [logo_id for logo_id, in_build in self._held(stored, deadline).items() if in_build]
        if not indexed:
            those = "logo_id > 0 and in_build == true" if self.collection.marks_build else "logo_id > 0"
            rows = self._call("query", filter=those, limit=_DRAWN, output_fields=["logo_id"], deadline=deadline)
            indexed = [row["logo_id"] for row in rows]
        return random.choice(indexed) if indexed else None  # noqa: S311 - no secret

    def _nearest_to_logos(
        self, logo_ids: Sequence[int], count: int, deadline: float
    ) -> tuple[dict[int, Neighbours | None], dict[bytes, Neighbours]]:
        """Return the neighbours of each logo, and those of the vectors of logos that the collection lacks.

        They are `None` for a logo that the collection lacks, or that has no usable vector.
        """
        ids = np.array([logo_id for logo_id in logo_ids if 0 < logo_id <= MAX_LOGO_ID], np.int64)
        vectors = self._vectors(ids)
        elsewhere = np.flatnonzero(~usable_rows(vectors))
        if len(elsewhere):
            vectors[elsewhere] = self._held_vectors(ids[elsewhere], deadline)
        known = usable_rows(vectors)
        ids, vectors = ids[known], vectors[known]
        searched = dict(zip(ids.tolist(), self._search(vectors, count + 1, self._fields, deadline), strict=True))
        held = {logo_id: in_build for logo_id, hits in searched.items() for in_build in _own_mark(logo_id, hits)}
        # A logo that is not among its own neighbours is missing, or hidden by copies of itself.
        unsure = np.array([logo_id for logo_id in searched if logo_id not in held], np.int64)
        held |= self._held(unsure, deadline)
        found: dict[int, Neighbours | None] = dict.fromkeys(logo_ids)
        beside = {}
        for (logo_id, hits), vector in zip(searched.items(), vectors, strict=True):
            near = _without(logo_id, _neighbours(hits), count)
            if logo_id not in held:
                beside[vector.tobytes()] = near
            else:
                found[logo_id] = _itself_first(logo_id, near, count) if held[logo_id] else near
        return found, beside

    def _held_vectors(self, logo_ids: NDArray[np.int64], deadline: float) -> NDArray[np.float32]:
        """Return the engine's vectors of logos, `(n, dim)`; NaN for logos that it lacks."""
        vectors = np.full((len(logo_ids), self.dim), np.nan, np.float32)
        places = {logo_id: place for place, logo_id in enumerate(logo_ids.tolist())}
        rows_a_message = self._milvus.connection.rows_a_message(self.dim)
        for first in range(0, len(logo_ids), rows_a_message):
            some = logo_ids[first : first + rows_a_message].tolist()
            for row in self._call("get", ids=some, output_fields=["logo_id", "embedding"], deadline=deadline):
                vectors[places[row["logo_id"]]] = row["embedding"]
        return vectors

    def _search(
        self, vectors: NDArray[np.float32], count: int, fields: Sequence[str], deadline: float
    ) -> list[list[Any]]:
        """Return the hits of each of `(n, dim)` vectors, with some of their fields."""
        count = min(count, MOST_NEIGHBOURS)
        found: list[list[Any]] = []
        only = {} if self._selected is None else {"filter": f"logo_id in {self._selected.tolist()}"}
        if self._selected is not None and not len(self._selected):
            return [[] for _ in vectors]
        for first in range(0, len(vectors), _VECTORS_A_QUERY):
            answers = self._call(
                "search",
                data=list(vectors[first : first + _VECTORS_A_QUERY]),
                limit=count,
                output_fields=fields,  # without this, some servers also return the vectors
                search_params={
                    "metric_type": "L2",
                    "params": search_params(self.collection.record.kind, self._effort, count),
                },
                deadline=deadline,
                **only,
            )
            found += answers
        return found

    @property
    def _fields(self) -> list[str]:
        return ["logo_id", "in_build"] if self.collection.marks_build else ["logo_id"]

    def _held(self, logo_ids: NDArray[np.int64], deadline: float | None, *, strong: bool = False) -> dict[int, bool]:
        """Return the ids of `(n,)` that are in the collection, and whether they belong to the build.

        Without a deadline, each message has its own.
        """
        level = {"consistency_level": "Strong"} if strong else {}
        if self._selected is not None:
            logo_ids = logo_ids[np.isin(logo_ids, self._selected)]
        held: dict[int, bool] = {}
        for first in range(0, len(logo_ids), _IDS_A_MESSAGE):
            some = logo_ids[first : first + _IDS_A_MESSAGE].tolist()
            until = self._deadline() if deadline is None else deadline
            rows = self._call("get", ids=some, output_fields=self._fields, deadline=until, **level)
            held |= {row["logo_id"]: row.get("in_build", True) for row in rows}
        return held

    def _deadline(self) -> float:
        return time.monotonic() + self._milvus.connection.query_seconds

    def _call(self, method: str, *, deadline: float, **options: Any) -> Any:
        left = deadline - time.monotonic()
        if left <= 0:
            raise EngineTimeoutError(
                f"Milvus at {self._milvus.connection.uri} took longer than {self._milvus.connection.query_seconds:g} s"
            )
        return self._milvus.call(method, self.collection.name, seconds=left, **options)


def _neighbours(hits: Any) -> Neighbours:
    ids = [int(hit["entity"]["logo_id"]) for hit in hits]
    squares = np.array([hit["distance"] for hit in hits], np.float32)
    distances = np.sqrt(np.maximum(squares, 0)).astype(np.float64)  # rounding may make a square slightly negative
    order = np.lexsort((np.array(ids), distances))
    return Neighbours([ids[place] for place in order], distances[order].tolist())


def _own_mark(logo_id: int, hits: Any) -> list[bool]:
    """Return whether a logo belongs to the build, from its own hit; nothing if it has none."""
    return [hit["entity"].get("in_build", True) for hit in hits if hit["entity"]["logo_id"] == logo_id]


def _without(logo_id: int, near: Neighbours, count: int) -> Neighbours:
    others = [place for place, other in enumerate(near.logo_ids) if other != logo_id][:count]
    return Neighbours([near.logo_ids[place] for place in others], [near.distances[place] for place in others])


def _itself_first(logo_id: int, others: Neighbours, count: int) -> Neighbours:
    return Neighbours([logo_id, *others.logo_ids[: count - 1]], [0.0, *others.distances[: count - 1]])
