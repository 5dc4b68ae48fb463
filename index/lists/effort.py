"""How hard a query looks: chosen when an index is built (`index.lists.tune`), kept in its `index.json`."""

from __future__ import annotations

from dataclasses import dataclass, replace

TUNED_FOR = 100
"""Neighbours that an effort is said for; more take more in proportion."""

_MEASURED_A_NEIGHBOUR = 1.05


@dataclass(frozen=True, slots=True)
class Effort:
    """The effort of a query.

    Attributes:
        probed: lists that are scanned.
        candidates: logos that the scan leaves, to be ranked by their records.
        spare: logos whose vectors are measured beyond those that are answered.
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
        """Return the effort that ranks other candidates, and scans lists in proportion."""
        return replace(self, candidates=candidates, probed=max(1, round(self.probed * candidates / self.candidates)))

    def times(self, factor: int) -> Effort:
        """Return so many times the effort."""
        return Effort(self.probed * factor, self.candidates * factor, self.spare * factor)
