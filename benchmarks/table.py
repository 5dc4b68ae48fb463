"""Figures as a Markdown table: each beside its rival's from the same run, with the ratio."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

PACKAGES = ("annoy", "numpy", "h5py", "falcon", "gunicorn", "ai-edge-litert", "tensorflow")


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of some ratios, and their range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, upper: Sequence[float], lower: Sequence[float]) -> Ratio:
        """Divide each figure by the one of the same repetition, so that slow moments of the machine affect both."""
        ratios = [above / below for above, below in zip(upper, lower, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.3g}"
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, slots=True)
class Row:
    """One claim.

    Attributes:
        what: the thing measured, and on what.
        ours: the figure of the service, with its unit.
        rival: the figure to compare with, with its unit and owner.
        ratio: of the two, in the direction that `reach` uses.
        reach: the promise.
        met: whether it was reached.
    """

    what: str
    ours: str
    rival: str
    ratio: Ratio
    reach: str
    met: bool


def interleaved(repetitions: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Call each measure `repetitions` times, in turns, and return the figures of each; the order rotates."""
    figures: list[list[float]] = [[] for _ in measures]
    turns = list(zip(measures, figures, strict=True))
    for repetition in range(repetitions):
        first = repetition % len(turns)
        for measure, taken in turns[first:] + turns[:first]:
            taken.append(measure())
    return figures


def render(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | ours | rival | ratio | to reach | met |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.ours} | {row.rival} | {row.ratio} | {row.reach} | {'yes' if row.met else '**no**'} |"
        for row in rows
    ]
    return "\n".join(lines)


def machine() -> str:
    """Return a line that describes the machine and the versions."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"{cores} cores of {_processor()}, {memory:.0f} GiB, Linux {platform.release()};"
        f" Python {platform.python_version()}, {packages}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
