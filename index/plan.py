"""Which index fits so many logos: whether its vectors are reduced, and how many trees it has."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE = 32_768
"""Logos that the principal components are found from, and recall is measured on."""

REDUCED_FROM = 10_000
"""Logos from which on an index is reduced: fewer are searched fast enough as they are."""

TREES = 100


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What is going to be built, and why."""

    trees: int
    reduce: bool
    reason: str


def plan_index(logos: int, *, trees: int | None = None, reduce: bool | None = None) -> IndexPlan:
    """Choose what was not chosen: `None` leaves the trees, or the reduction, to the number of logos."""
    reduces = logos >= REDUCED_FROM if reduce is None else reduce
    chosen = TREES if trees is None else trees
    kind = "a reduced index" if reduces else "a full index"
    why = f"{logos} logos are {'at least' if logos >= REDUCED_FROM else 'fewer than'} {REDUCED_FROM}"
    reason = f"{kind}: {why if reduce is None else 'as asked for'}; {chosen} trees"
    return IndexPlan(chosen, reduces, reason)
