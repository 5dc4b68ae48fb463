"""The result of a test: how much it tried, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table.

    Attributes:
        test: what was done, and to what.
        tried: number of kills, states, cuts, files or requests.
        unit: what `tried` counts.
        losses: what was lost, doubled, torn or served wrongly; each a sentence that names the seed or the state.
        seconds: how long it took.
    """

    test: str
    tried: int
    unit: str
    losses: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def row(self) -> str:
        """Return the row in Markdown."""
        return f"| {self.test} | {self.tried:,} {self.unit} | {len(self.losses)} |"


HEADER = "| test | tried | losses |\n|---|---|---|"
