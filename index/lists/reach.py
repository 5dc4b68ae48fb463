"""How many lists a query scans: few if its neighbours are near, many if they are far.

Most logos have many like them, and find all of these in a few lists. Others have none, and their nearest lie in
hundreds. So a query scans the first lists, estimates from these how far its neighbours are, and goes on to all with

    squared distance of the centre  <=  `SLOPE` * squared distance of the last neighbour  +  offset

The offset is found during a build, for each of several average numbers of lists, from the logos that recall is measured
on. Beside a fixed number of lists, the median query scans a seventh of the logos, and the average half, for the same
recall among 4 million (measured).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIRST = 8
"""Number of lists that every query scans."""

SLOPE = 2.0
"""1.2 to 2.5 do as well; a threshold in proportion to the distance, or a fixed one, does not."""

_MOST = 2.4  # times the average number of lists: no query takes much longer than all did


@dataclass(frozen=True, slots=True)
class Reach:
    """How far queries look.

    Attributes:
        probed: average number of lists that they scan.
        offset: of the squared distance of a centre.
    """

    probed: int
    offset: float


def lists_to_scan(
    reaches: Sequence[Reach], probed: int, squares: NDArray[np.float32], last: NDArray[np.float32] | None
) -> NDArray[np.int64]:
    """Return how many lists each query scans, `(n,)`.

    Args:
        reaches: of the index, the shortest first; without any, all queries scan `probed` lists.
        probed: how many lists queries scan on average.
        squares: (n, lists) the squared distances of the centres, nearest first.
        last: (n,) the squared distances of the last neighbours in the first lists; `None` without a reach.
    """
    lists = squares.shape[1]
    if last is None or not reaches or probed > reaches[-1].probed:
        return np.full(len(squares), min(probed, lists))
    offset = np.interp(probed, [reach.probed for reach in reaches], [reach.offset for reach in reaches])
    return _within(_margins(squares, last), float(offset), probed)


def find_reaches(averages: Iterable[int], squares: NDArray[np.float32], last: NDArray[np.float32]) -> tuple[Reach, ...]:
    """Return the reach with which some queries scan each of these average numbers of lists, rising.

    Args:
        averages: numbers of lists.
        squares: as for `lists_to_scan`.
        last: as for `lists_to_scan`.
    """
    margins = _margins(squares, last)
    offsets = np.sort(margins, axis=None)
    reaches = []
    for probed in averages:
        place = bisect_left(offsets, probed, key=lambda offset: _within(margins, offset, probed).mean())
        reaches.append(Reach(probed, float(offsets[min(place, len(offsets) - 1)])))
    return tuple(reaches)


def _margins(squares: NDArray[np.float32], last: NDArray[np.float32]) -> NDArray[np.float64]:
    last = np.minimum(last, np.finfo(np.float32).max)  # so that offsets are finite, as JSON wants them
    margins: NDArray[np.float64] = squares - SLOPE * last.astype(np.float64)[:, np.newaxis]
    return margins


def _within(margins: NDArray[np.float64], offset: float, probed: int) -> NDArray[np.int64]:
    most = min(margins.shape[1], round(_MOST * probed))
    least = min(FIRST, most)
    return np.array([min(max(int(rising.searchsorted(offset, "right")), least), most) for rising in margins])
