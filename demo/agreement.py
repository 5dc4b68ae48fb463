"""How often the nearest logos carry the brand of the one that was asked about, beside chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares, 0 to 1, of the nearest logos that carry the same brand.

    Attributes:
        found: what the service found.
        chance: what logos drawn at random would give.
        best: what a perfect answer would give; below 1 where a brand has too few logos.
    """

    found: float
    chance: float
    best: float


def brand_agreement(neighbours: Mapping[int, Sequence[int]], brands: Mapping[int, str], nearest: int) -> Agreement:
    """Compare each logo with its nearest others.

    Args:
        neighbours: per logo, the ids of its neighbours, nearest first; the logo itself may be among them.
        brands: the brand of every logo.
        nearest: how many of the other logos count.
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
