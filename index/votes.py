"""Predict the value of a logo by the votes of its neighbours, weighted by 1/distance.

The weights are those of `weights="distance"` in scikit-learn's nearest neighbours, which Robotoff's `predict_proba`
uses. If neighbours are at distance 0, only they vote, with equal weights. Neighbours without a value vote for `None`:
a logo among unknown ones is unknown. The logo itself never votes.
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
        distance: its distance.
        value: the value that it voted for; `None` if it has none.
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
        value: the value with the largest share. `None` if the share is below the threshold, if it is that of
            neighbours without a value, or if nobody voted.
        confidence: the largest share, from 0 to 1, also if it is that of `None`; 0 if nobody voted.
        shares: the share of each value, largest first; `None` stands for neighbours without one.
        deciders: the neighbours that voted for the value with the largest share, nearest first.
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
    """Return the outcome of a vote.

    If shares are equal, the value with the nearest voter wins; if these are equally near, the first in `logo_ids`.

    Args:
        logo_ids: k neighbours.
        distances: k distances, 0 or more.
        values: the values of the logos that have one, by id.
        itself: the logo that is voted on; it does not vote if it is among its neighbours.
        threshold: the smallest share that makes a prediction.
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
    """Return each neighbour's share of the vote.

    Args:
        distances: (k,) or (n, k), 0 or more; infinity or NaN where nobody votes.

    Returns:
        Weights of the same shape. Those of a row sum to 1, or to 0 if nobody votes.
    """
    distances = np.asarray(distances, np.float64)
    voting = np.isfinite(distances)
    least = np.where(voting, distances, np.inf).min(axis=-1, keepdims=True, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Relative to the nearest, because 1/distance overflows for the smallest distances.
        weights = np.where(least > 0, least / distances, distances == 0)
    weights = np.where(voting, weights, 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)
