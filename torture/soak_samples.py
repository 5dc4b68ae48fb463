"""What a process of the service holds, sampled over hours, and whether it grows.

Only anonymous memory counts: mapped files, such as an index, belong to the page cache.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MB = 1e6
WARM_UP = 0.2  # of a process's time: models are loaded and the allocator's arenas are filled
BLOCKS = 12  # samples nearby are alike: the median of each of this many blocks is one observation
BYTES_AN_ID = 100  # the most that a process needs for one more id, in a dict or a set
TOLERATED = 12 * MB  # an hour; a leak of 1 kB in every hundredth request is more


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process held at one time.

    Attributes:
        seconds: since the start of the soak.
        pid: the process.
        anonymous, resident: bytes.
        descriptors, threads: how many.
        ids: number of ids that a process may have to remember, of stored logos and deleted ones.
        resting: whether no client was connected.
    """

    seconds: float
    pid: int
    anonymous: int
    resident: int
    descriptors: int
    threads: int
    ids: int
    resting: bool


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast something grows, with a 95 % interval."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Growth:
    """How one process grew after its warm-up.

    Attributes:
        pid: the process.
        hours: the time judged.
        memory: bytes of anonymous memory an hour.
        ids: increase an hour of the ids that it may have to remember.
        megabytes: of anonymous memory in the first and the last block.
        descriptors, threads: the most at rest, in the first and the second half.
        wrong: what exceeds its limit.
    """

    pid: int
    hours: float
    memory: Slope
    ids: float
    megabytes: tuple[float, float]
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    wrong: list[str] = field(default_factory=list)


def sample(pid: int, *, seconds: float, ids: int, resting: bool) -> Sample | None:
    """Sample a process through /proc; None if it has just ended."""
    proc = Path("/proc") / str(pid)
    try:
        rollup = dict(line.split(":", 1) for line in (proc / "smaps_rollup").read_text().splitlines()[1:])
        return Sample(
            seconds=seconds,
            pid=pid,
            anonymous=1024 * int(rollup["Anonymous"].split()[0]),
            resident=1024 * int(rollup["Rss"].split()[0]),
            descriptors=sum(1 for _ in (proc / "fd").iterdir()),
            threads=sum(1 for _ in (proc / "task").iterdir()),
            ids=ids,
            resting=resting,
        )
    except (OSError, KeyError):
        return None


def children(pid: int) -> list[int]:
    """Return the living child processes of a process, oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            of, fields = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append((int(fields[19]), of))
    return [of for _, of in sorted(found)]


def slope(times: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line that is robust to outliers: the median of the slopes between all pairs of points.

    Theil and Sen's estimator, with the interval of P. K. Sen, "Estimates of the regression coefficient based on
    Kendall's tau", JASA 63 (1968), 1379-1389.

    Args:
        times: (n,) at least three, all different.
        values: (n,) the values at these times.
    """
    slopes = sorted(
        (v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in itertools.combinations(zip(times, values, strict=True), 2)
    )
    n = len(times)
    spread = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, round((len(slopes) - spread) / 2) - 1)
    high = min(len(slopes) - 1, round((len(slopes) + spread) / 2))
    return Slope(statistics.median(slopes), slopes[low], slopes[high])


def growth(samples: Sequence[Sample], *, most_threads: int) -> Growth:
    """Judge the samples of one process.

    Args:
        samples: in order; at least four times as many as blocks.
        most_threads: the largest number of threads allowed.
    """
    first, last = samples[0].seconds, samples[-1].seconds
    judged = [one for one in samples if one.seconds >= first + WARM_UP * (last - first)]
    blocks = [judged[len(judged) * k // BLOCKS : len(judged) * (k + 1) // BLOCKS] for k in range(BLOCKS)]
    hours = [statistics.median(one.seconds / 3600 for one in block) for block in blocks]
    memory = [statistics.median(one.anonymous for one in block) for block in blocks]
    ids = slope(hours, [statistics.median(one.ids for one in block) for block in blocks]).middle
    found = slope(hours, memory)
    owed = BYTES_AN_ID * max(0.0, ids)
    at_rest = [one for one in judged if one.resting] or judged
    early, late = at_rest[: len(at_rest) // 2 or 1], at_rest[len(at_rest) // 2 :]
    descriptors = max(one.descriptors for one in early), max(one.descriptors for one in late)
    threads = max(one.threads for one in early), max(one.threads for one in late)
    wrong = []
    if found.low > owed + TOLERATED:
        wrong.append(f"its memory grows by at least {found.low / MB:.1f} MB an hour")
    elif found.high - found.low > 8 * TOLERATED:
        wrong.append(f"undecided: its memory grows by {found.low / MB:.0f} to {found.high / MB:.0f} MB an hour")
    if descriptors[1] > descriptors[0]:
        wrong.append(f"it had {descriptors[0]} open descriptors at rest, and later {descriptors[1]}")
    if (most := max(one.threads for one in samples)) > most_threads:
        wrong.append(f"it had {most} threads, but only {most_threads} are allowed")
    return Growth(
        pid=samples[0].pid,
        hours=(judged[-1].seconds - judged[0].seconds) / 3600,
        memory=found,
        ids=ids,
        megabytes=(memory[0] / MB, memory[-1] / MB),
        descriptors=descriptors,
        threads=threads,
        wrong=[f"process {samples[0].pid}: {what}" for what in wrong],
    )
