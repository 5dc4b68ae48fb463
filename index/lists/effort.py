"""The effort of a query: chosen when an index is built (`index.lists.tune`), stored in its `index.json`."""

from __future__ import annotations

from dataclasses import dataclass, replace

TUNED_FOR = 100
"""Number of neighbours that an effort is meant for; queries for more take proportionally more."""

_MEASURED_A_NEIGHBOUR = 1.05


@dataclass(frozen=True, slots=True)
class Effort:
    """The effort of a query.

    Attributes:
        probed: number of lists to scan, on average (see `index.lists.reach`); with a filter, for every query.
        candidates: number of logos that the scan keeps, to be ranked by their records.
        spare: number of vectors to measure in addition to those that are returned.
    """

    probed: int
    candidates: int
    spare: int

    def __post_init__(self) -> None:
        if min(self.probed, self.candidates, self.spare) < 1:
            raise ValueError("an effort is at least 1 list, 1 candidate and 1 spare vector")

    def candidates_for(self, count: int) -> int:
        """Return how many candidates a query for `count` neighbours ranks."""
        return max(self.candidates * max(count, TUNED_FOR) // TUNED_FOR, self.measured_for(count))

    def measured_for(self, count: int) -> int:
        """Return how many vectors a query for `count` neighbours measures."""
        return self.spare + int(_MEASURED_A_NEIGHBOUR * count)

    def with_candidates(self, candidates: int) -> Effort:
        """Return the effort for another number of candidates, with lists and spare vectors in proportion."""
        probed, spare = (max(1, round(part * candidates / self.candidates)) for part in (self.probed, self.spare))
        return Effort(probed, candidates, spare)

    def probing(self, probed: float) -> Effort:
        """Return the effort with another number of lists, at least 1."""
        return replace(self, probed=max(1, round(probed)))

    def times(self, factor: int) -> Effort:
        """Return the effort multiplied by `factor`."""
        return Effort(self.probed * factor, self.candidates * factor, self.spare * factor)
