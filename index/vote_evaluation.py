"""Measure how good predictions are, on logos whose values are known.

The neighbours of each logo vote as if its own value were unknown (leave-one-out), and the outcome is compared with the
value. The neighbours are searched beforehand; this is only arithmetic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.votes import vote_weights

_NO_VALUE = -1
_BLOCK_CELLS = 1 << 22  # of the (rows, k, k) comparisons made at once


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions with a confidence above `low`, up to `high`. Of calibrated ones, `confidence` equals `accuracy`.

    Attributes:
        low: exclusive, except in the lowest bin.
        high: inclusive.
        logos: number of predictions.
        confidence: the mean confidence; 0 without predictions.
        accuracy: the share of right predictions; 0 without predictions.
    """

    low: float
    high: float
    logos: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """The lowest confidence from which predictions have the wanted precision.

    Attributes:
        confidence: that confidence.
        answered: number of predictions with at least that confidence.
        precision: the share of right ones among these.
    """

    confidence: float
    answered: int
    precision: float


@dataclass(frozen=True, slots=True)
class ValueEvaluation:
    """The predictions of one value.

    Attributes:
        value: the value.
        logos: number of logos that have it.
        answered: number of predictions of it that reach the threshold of the evaluation.
        right: number of these that are right.
        threshold: for the wanted precision of these predictions; `None` if no confidence reaches it.
    """

    value: str
    logos: int
    answered: int
    right: int
    threshold: Threshold | None

    @property
    def precision(self) -> float:
        """The share of right predictions of this value; 0 without predictions."""
        return self.right / max(1, self.answered)

    @property
    def recall(self) -> float:
        """The share of the logos with this value that are predicted to have it."""
        return self.right / max(1, self.logos)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The quality of predictions.

    Attributes:
        logos: number of logos that were voted on: those with a value.
        accuracy: the share of these whose own value got the largest share of the vote, at any confidence.
        coverage: the share of these for which a prediction reaches the threshold.
        precision: the share of such predictions that are right; 0 without any.
        reliability: bins of equal width, of predictions at any confidence.
        threshold: for the wanted precision of all predictions; `None` if no confidence reaches it.
        values: each value, the most frequent first.
    """

    logos: int
    accuracy: float
    coverage: float
    precision: float
    reliability: list[ReliabilityBin]
    threshold: Threshold | None
    values: list[ValueEvaluation]


def evaluate(
    logo_ids: NDArray[np.int64],
    neighbour_ids: NDArray[np.int64],
    distances: NDArray[np.floating],
    values: Mapping[int, str],
    *,
    threshold: float = 0.0,
    precision: float = 0.95,
    bins: int = 10,
) -> Evaluation:
    """Compare what neighbours predict with the values that logos have.

    Args:
        logo_ids: (n,); logos without a value are not voted on.
        neighbour_ids: (n, k) the neighbours of each. A logo among its own neighbours does not vote.
        distances: (n, k), infinite where there are fewer than k neighbours.
        values: the values of all logos and neighbours that have one, by id.
        threshold: the smallest confidence that counts for `coverage` and `precision`.
        precision: the wanted precision, from 0 to 1.
        bins: number of bins of the reliability table.
    """
    names = sorted(set(values.values()))
    codes = _Codes(values, names)
    own = codes.of(logo_ids)
    known = own != _NO_VALUE
    logo_ids, neighbour_ids, distances, own = logo_ids[known], neighbour_ids[known], distances[known], own[known]
    distances = np.where(neighbour_ids == logo_ids[:, np.newaxis], np.inf, distances)
    predicted, confidence = _outcomes(codes.of(neighbour_ids), distances)
    made = predicted != _NO_VALUE
    answered = made & (confidence >= threshold)
    right = predicted == own
    has, predictions, hits = (
        np.bincount(of, minlength=len(names)).tolist() for of in (own, predicted[answered], own[answered & right])
    )
    per_value = [
        ValueEvaluation(
            name, has[code], predictions[code], hits[code], least_threshold(confidence[rows], right[rows], precision)
        )
        for code, (name, rows) in enumerate(zip(names, _rows_of_each(predicted, len(names)), strict=True))
    ]
    return Evaluation(
        logos=len(own),
        accuracy=_share(right, len(own)),
        coverage=_share(answered, len(own)),
        precision=_share(right & answered, int(np.count_nonzero(answered))),
        reliability=[*_reliability(confidence[made], right[made], bins)],
        threshold=least_threshold(confidence[made], right[made], precision),
        values=sorted(per_value, key=lambda value: (-value.logos, value.value)),
    )


def least_threshold(confidences: NDArray[np.float64], right: NDArray[np.bool_], precision: float) -> Threshold | None:
    """Return the lowest confidence from which predictions are precise enough; `None` if there is none.

    Args:
        confidences: (n,) of predictions.
        right: (n,) whether each prediction is right.
        precision: the wanted share of right predictions.
    """
    order = np.argsort(-confidences, kind="stable")
    confidences, hits = confidences[order], np.cumsum(right[order])
    answered = np.arange(1, len(order) + 1)
    last = np.append(confidences[1:] < confidences[:-1], True)[: len(order)]  # equal confidences are in or out together
    good = np.flatnonzero(last & (hits >= precision * answered))
    if not len(good):
        return None
    place = int(good[-1])
    return Threshold(float(confidences[place]), place + 1, float(hits[place] / (place + 1)))


class _Codes:
    """Numbers values by their places in `names`."""

    def __init__(self, values: Mapping[int, str], names: list[str]) -> None:
        number = {name: code for code, name in enumerate(names)}
        ids = np.fromiter(values.keys(), np.int64, len(values))
        codes = np.fromiter((number[value] for value in values.values()), np.int64, len(values))
        order = np.argsort(ids)
        self._ids, self._codes = ids[order], codes[order]

    def of(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each logo's value, of the same shape; `_NO_VALUE` if it has none."""
        if not len(self._ids):
            return np.full(np.shape(logo_ids), _NO_VALUE)
        places = np.minimum(self._ids.searchsorted(logo_ids), len(self._ids) - 1)
        return np.where(self._ids[places] == logo_ids, self._codes[places], _NO_VALUE)


def _outcomes(
    codes: NDArray[np.int64], distances: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the winners of n votes and their shares, both (n,), as `votes.predict` does for one."""
    rows, k = codes.shape
    winners, confidences = np.full(rows, _NO_VALUE), np.zeros(rows)
    step = max(1, _BLOCK_CELLS // max(1, k * k))
    for first in range(0, rows if k else 0, step):
        block = slice(first, first + step)
        nearest_first = np.argsort(distances[block], axis=1, kind="stable")
        of_block = np.take_along_axis(codes[block], nearest_first, 1)
        weights = vote_weights(np.take_along_axis(distances[block], nearest_first, 1))
        same = of_block[:, :, np.newaxis] == of_block[:, np.newaxis, :]
        shares = np.where(weights > 0, np.einsum("nij,nj->ni", same, weights), 0.0)
        best = shares.argmax(axis=1)[:, np.newaxis]
        confidences[block] = np.take_along_axis(shares, best, 1)[:, 0]
        winners[block] = np.take_along_axis(of_block, best, 1)[:, 0]
    winners[confidences == 0] = _NO_VALUE
    return winners, confidences


def _rows_of_each(codes: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Return the rows of each code below `count`."""
    order = np.argsort(codes, kind="stable")
    bounds = codes[order].searchsorted(np.arange(count + 1))
    return [order[first:stop] for first, stop in itertools.pairwise(bounds.tolist())]


def _reliability(confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int) -> Iterator[ReliabilityBin]:
    edges = np.linspace(0, 1, bins + 1)
    # Rounding may make a share of 1 a little larger.
    places = np.clip(np.searchsorted(edges, np.minimum(confidences, 1.0)) - 1, 0, bins - 1)
    for place in range(bins):
        inside = places == place
        count = int(np.count_nonzero(inside))
        mean = float(confidences[inside].mean()) if count else 0.0
        yield ReliabilityBin(float(edges[place]), float(edges[place + 1]), count, mean, _share(right & inside, count))


def _share(which: NDArray[np.bool_], of: int) -> float:
    return int(np.count_nonzero(which)) / of if of else 0.0
