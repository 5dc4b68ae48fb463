"""Compare the brands of logos with those of their neighbours, and with chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares, 0 to 1, of neighbours that have the brand of their query.

    Attributes:
        found: the share in the results of the service.
        chance: the expected share of random results.
        best: the share of perfect results; below 1 if a brand has too few logos.
    """

    found: float
    chance: float
    best: float


def brand_agreement(neighbours: Mapping[int, Sequence[int]], brands: Mapping[int, str], nearest: int) -> Agreement:
    """Compute how often neighbours have the brand of their query.

    Args:
        neighbours: the ids of each logo's neighbours, nearest first; the logo itself may be among them.
        brands: the brand of every logo.
        nearest: how many other logos count for each logo.
    """
    sizes = Counter(brands.values())
    same = chance = best = 0.0
    for logo_id, ids in neighbours.items():
        others = [other for other in ids if other != logo_id][:nearest]
        same += sum(brands[other] == brands[logo_id] for other in others)
        siblings = sizes[brands[logo_id]] - 1
        chance += nearest * siblings / (len(brands) - 1)
        best += min(nearest, siblings)
    total = nearest * len(neighbours)
    return Agreement(same / total, chance / total, best / total)
