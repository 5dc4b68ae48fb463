"""Join near pairs of logos into groups: a chain of near pairs leads from each logo of a group to each other one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from index.distances.survey_file import NearPairs


@dataclass(frozen=True, slots=True)
class Group:
    """Logos that are nearly the same.

    Attributes:
        logo_ids: two or more, ascending.
        distance: the largest of the pairs that join them.
    """

    logo_ids: list[int]
    distance: float


def groups_of(pairs: NearPairs, max_distance: float, *, without: Collection[int] = ()) -> list[Group]:
    """Return the groups that near pairs form, the largest first; of equally large ones, the nearest first.

    Args:
        pairs: the pairs, nearest first.
        max_distance: the largest distance of the pairs that count.
        without: logos that are no longer there: pairs with them do not count.
    """
    group_of: dict[int, list[int]] = {}
    distance_of: dict[int, float] = {}
    for (one, other), distance in zip(pairs.logo_ids.tolist(), pairs.distances.tolist(), strict=True):
        if distance > max_distance:
            break
        if one in without or other in without:
            continue
        small, large = sorted((group_of.setdefault(one, [one]), group_of.setdefault(other, [other])), key=len)
        distance_of[id(large)] = distance  # the largest so far: the nearest pairs come first
        if small is not large:
            large += small
            group_of.update(dict.fromkeys(small, large))
    joined = {id(group): group for group in group_of.values()}
    made = [Group(sorted(group), distance_of[key]) for key, group in joined.items()]
    return sorted(made, key=lambda group: (-len(group.logo_ids), group.distance, group.logo_ids))
