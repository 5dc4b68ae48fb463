"""The candidate journey: an attribute's value to the nearest logos that have no value of that attribute.

Some of the logos that have the value are searched for, and their neighbours merged. If too few of these are without a
value, each search returns more, up to `MOST` neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from api.journeys.logo_attributes import LogoAttributes
from api.journeys.neighbour_search import NeighbourSearch
from embeddings.attributes.filters import Condition
from index.protocol import Neighbours

SEARCHED = 64
"""The most logos of the value that are searched for: they are spaced evenly through its ids."""

MOST = 500
"""The most neighbours of each of them."""

_FACTOR = 4  # from one try to the next


@dataclass(frozen=True, slots=True)
class Candidate:
    """A logo without a value.

    Attributes:
        logo_id: its id.
        distance: to the nearest of the logos that were searched for.
        nearest: the id of that logo.
    """

    logo_id: int
    distance: float
    nearest: int


def candidates(
    search: NeighbourSearch, attributes: LogoAttributes, condition: Condition, count: int, index_name: str | None
) -> list[Candidate]:
    """Return the nearest logos to those with a value that have no value of its key, nearest first.

    Args:
        search: finds neighbours; its errors are those of this function.
        attributes: of the logos.
        condition: the key and the value.
        count: how many logos to return, at most.
        index_name: the index that is searched; `None` is the default one.
    """
    ids = attributes.matching((condition,))
    if not len(ids):
        return []
    asked = ids[np.linspace(0, len(ids) - 1, min(len(ids), SEARCHED)).astype(np.int64)].tolist()
    wanted = min(count, MOST)
    while True:
        found = _without_value(attributes, condition.key, search.of_logos(asked, wanted, index_name, exclude_self=True))
        if len(found) >= count or wanted == MOST:
            return found[:count]
        wanted = min(_FACTOR * wanted, MOST)


def _without_value(attributes: LogoAttributes, key: str, found: dict[int, Neighbours]) -> list[Candidate]:
    nearest: dict[int, Candidate] = {}
    for asked, neighbours in found.items():
        for logo_id, distance in zip(neighbours.logo_ids, neighbours.distances, strict=True):
            if logo_id not in nearest or distance < nearest[logo_id].distance:
                nearest[logo_id] = Candidate(logo_id, distance, asked)
    named = attributes.values_of(key, nearest)
    free = [candidate for logo_id, candidate in nearest.items() if logo_id not in named]
    return sorted(free, key=lambda candidate: (candidate.distance, candidate.logo_id))
