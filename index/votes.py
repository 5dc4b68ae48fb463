"""What the neighbours of a logo say about it: each votes for its value, the nearer the louder.

A neighbour votes with 1/distance, as `weights="distance"` of scikit-learn's neighbours does, which Robotoff's
`predict_proba` follows. A neighbour at distance 0 takes the vote; several at 0 share it. Neighbours without a value
vote too, for `None`: a logo among unknown ones is unknown. The logo itself never votes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Voter:
    """A neighbour that voted.

    Attributes:
        logo_id: its id.
        distance: how far it is.
        value: what it voted for; `None` if it has no value.
        weight: its share of the vote, from 0 to 1.
    """

    logo_id: int
    distance: float
    value: str | None
    weight: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The outcome of a vote.

    Attributes:
        value: the value with the largest share, if that reaches the threshold; `None` if it does not, if neighbours
            without a value have the largest, or if nobody voted.
        confidence: the largest share, from 0 to 1, whoever has it; 0 if nobody voted.
        shares: the share of each value, largest first; `None` is the share of neighbours without one.
        deciders: the voters for what has the largest share, nearest first.
    """

    value: str | None
    confidence: float
    shares: dict[str | None, float]
    deciders: list[Voter]


def predict(
    logo_ids: Sequence[int],
    distances: Sequence[float],
    values: Mapping[int, str],
    *,
    itself: int | None = None,
    threshold: float = 0.0,
) -> Prediction:
    """Have the neighbours of a logo vote.

    Of values with equal shares the one with the nearest voter wins, and of equally near ones the first in `logo_ids`.

    Args:
        logo_ids: k neighbours.
        distances: of each, 0 or more.
        values: the values of those that have one, by id.
        itself: the logo that is voted on, left out where it is among its neighbours.
        threshold: the least share that makes a prediction.
    """
    others = [(logo_id, far) for logo_id, far in zip(logo_ids, distances, strict=True) if logo_id != itself]
    weights = vote_weights([far for _, far in others]).tolist()
    voters = [
        Voter(logo_id, distance, values.get(logo_id), weight)
        for (logo_id, distance), weight in zip(others, weights, strict=True)
        if weight > 0
    ]
    voters.sort(key=lambda voter: voter.distance)
    shares: dict[str | None, float] = {}
    for voter in voters:
        shares[voter.value] = shares.get(voter.value, 0.0) + voter.weight
    shares = dict(sorted(shares.items(), key=lambda share: -share[1]))  # stable: the nearest voter's first
    if not shares:
        return Prediction(None, 0.0, {}, [])
    first, confidence = next(iter(shares.items()))
    deciders = [voter for voter in voters if voter.value == first]
    return Prediction(first if confidence >= threshold else None, confidence, shares, deciders)


def vote_weights(distances: ArrayLike) -> NDArray[np.float64]:
    """Return the share of the vote that each neighbour has.

    Args:
        distances: (k,) or (n, k), 0 or more; infinity or NaN for one that does not vote.

    Returns:
        Weights of the same shape. Those of a row sum to 1, or to 0 if nobody votes.
    """
    distances = np.asarray(distances, np.float64)
    voting = np.isfinite(distances)
    least = np.where(voting, distances, np.inf).min(axis=-1, keepdims=True, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Measured against the nearest: 1/distance itself overflows for the smallest distances.
        weights = np.where(least > 0, least / distances, distances == 0)
    weights = np.where(voting, weights, 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)
