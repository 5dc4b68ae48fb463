"""Choose the parts of an index of lists by its number of logos, and say why."""

from __future__ import annotations

from dataclasses import dataclass

from index.annoy.build import estimated_size as forest_size
from index.lists.centres import LOGOS_A_LIST, TREES, list_count
from index.lists.codes import bytes_a_logo, coded_components
from index.lists.effort import Effort
from index.lists.records import MANY, RecordFormat, record_components
from index.lists.tune import least_effort
from index.lists.vectors_file import COPIED_BELOW, file_bytes

LISTS_FROM = 2_000
"""Number of logos from which an index has lists: Annoy alone, over the vectors, is faster for fewer."""


@dataclass(frozen=True, slots=True)
class ListsPlan:
    """The parts of an index of lists.

    Attributes:
        logos: approximate number of logos.
        dim: the number of values in a vector.
        lists: approximate number of lists.
        recorded: number of components in a record.
        coded: number of components in centres and codes.
        trees: number of trees that Annoy grows over the centres.
    """

    logos: int
    dim: int
    lists: int
    recorded: int
    coded: int
    trees: int

    @classmethod
    def of(cls, logos: int, dim: int, *, trees: int | None = None) -> ListsPlan:
        """Choose by the number of logos; `None` uses the default number of trees."""
        recorded = min(record_components(logos), dim)
        return cls(logos, dim, list_count(logos), recorded, coded_components(logos, recorded), trees or TREES)

    @property
    def copied(self) -> bool:
        """Whether the index holds a copy of the vectors."""
        return self.logos < COPIED_BELOW

    @property
    def least_effort(self) -> Effort:
        """The effort that tuning begins with."""
        return least_effort(self.lists, self.logos)

    @property
    def estimated_size(self) -> int:
        """The approximate size in bytes of the index and of the rows kept for the next build."""
        forest = forest_size(self.lists, self.coded, self.trees)
        forest += file_bytes(self.logos, self.dim) if self.copied else 0
        return forest + self.logos * (2 * RecordFormat.size_of(self.recorded) + 12 + bytes_a_logo(self.coded))

    @property
    def reason(self) -> str:
        """One line that says what was chosen, and why."""
        lists = f"{self.lists:,} lists, one for about every {LOGOS_A_LIST:,} of {self.logos:,} logos"
        if self.lists == 1:
            lists = f"one list of {self.logos:,} logos, all scanned"
        copied = " and a copy of the vectors" if self.copied else ""
        size = f"{MANY:,} or more" if self.logos >= MANY else f"fewer than {MANY:,}"
        parts = f"codes of {self.coded} components and records of {self.recorded}{copied}"
        return f"{lists}; {parts}, because there are {size}"
