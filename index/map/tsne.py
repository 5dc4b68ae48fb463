"""Lay out points of many values on a plane so that neighbours stay neighbours: t-SNE (van der Maaten and Hinton 2008).

Near points attract each other (`index.map.near_pairs`), all points repel each other (`index.map.repulsion`), and
gradient descent finds a balance. It starts from the first two principal components, which preserves large distances
(Kobak and Berens 2019), or from an earlier layout.

Measured on the first 50 components of 20,000 logos of 1280 values, a layout takes 21 s on two cores. Of the ten nearest
to each logo, 0.594 are among its ten nearest on the map (0.013 on the plane of the first two components). For 1,000
logos it takes 1.3 s and keeps 0.616. Starting from the layout of the night before, it takes 16 s, and points move by
0.2 % of the width (median), or by 0.4 % if a tenth of them are new.

openTSNE 1.0.4 was measured too, with its defaults and two threads: 50 s for the 20,000 logos (0.587) and 10 s for the
1,000 (0.615). For 200, 1,000 and 5,000 logos it takes 8, 11 and 8 times the processor time of this module (on one
thread; its threads wait for each other, and beside a busy service two are slower than one). It would also add
scikit-learn and SciPy to the image: 206 MB, where all packages together have 232 MB. umap-learn would add Numba as
well. A map is drawn each night on the machine that answers queries.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.map.near_pairs import NearPairs
from index.map.repulsion import WIDEST, Repulsion

Progress = Callable[[int], None]

FEWEST = 10
"""With fewer points, the first two principal components are the layout: there is nothing to untangle."""

STEPS, STEPS_FROM_EARLIER = 750, 100
"""Steps of the descent, from the components and from an earlier layout."""

_CONDENSING, _EXAGGERATION = 250, 12.0  # the first steps, and how much stronger points attract each other in them
_MOMENTUM = 0.8
_SLOWEST_GAIN = 0.01
_LONGEST_STEP = 5.0
_BEGINNING = 1e-4  # the standard deviation of the first layout
_BISECTIONS = 12  # to find a scale


def lay_out(
    points: NDArray[np.float32],
    *,
    seed: int = 0,
    earlier: NDArray[np.float32] | None = None,
    progress: Progress = lambda _steps: None,
) -> NDArray[np.float32]:
    """Lay out points.

    Args:
        points: (n, dim), with decreasing variance along the dimensions, as for principal components.
        seed: of the noise that separates equal points. On one machine, the same seed gives the same layout.
        earlier: (n, 2), a layout of the same points at any scale to start from, NaN for missing points.
        progress: called with the number of steps just done.

    Returns:
        (n, 2), at the scale of the kernel.
    """
    points = points / np.float32(np.abs(points).max(initial=0) or 1)  # the scale makes no difference
    if len(points) < FEWEST:
        flat = np.zeros((len(points), 2), np.float32)
        flat[:, : points.shape[1]] = points[:, :2]
        return flat - flat.mean(axis=0) if len(flat) else flat
    pairs = NearPairs.of(points)
    noise = np.random.default_rng(seed).standard_normal((len(points), 2), np.float32)
    if earlier is None:
        first = np.zeros((len(points), 2), np.float32)
        first[:, : points.shape[1]] = points[:, :2] / (points[:, 0].std() or np.float32(1))
        begun = (first + noise / np.float32(100)) * np.float32(_BEGINNING)
        condensed = _descend(pairs, begun, _CONDENSING, _EXAGGERATION, progress)
        return _descend(pairs, condensed, STEPS - _CONDENSING, 1.0, progress)
    begun = _completed(earlier, pairs)
    begun = begun * _balanced_scale(pairs, begun) + noise / np.float32(100)
    return _descend(pairs, begun, STEPS_FROM_EARLIER, 1.0, progress)


def _descend(
    pairs: NearPairs, layout: NDArray[np.float32], steps: int, exaggeration: float, progress: Progress
) -> NDArray[np.float32]:
    """Step down the gradient with momentum, each value at its own pace (Jacobs 1988)."""
    pace = len(layout) / exaggeration  # Linderman and Steinerberger 2019
    gains, update = np.ones_like(layout), np.zeros_like(layout)
    repulsion = Repulsion()
    for _ in range(steps):
        gradient = np.float32(exaggeration) * _attraction(pairs, layout) - repulsion.among(layout)
        turned = (gradient > 0) == (update > 0)
        gains = np.maximum(np.where(turned, gains * np.float32(0.8), gains + np.float32(0.2)), _SLOWEST_GAIN)
        update = np.float32(_MOMENTUM) * update - np.float32(pace) * gains * gradient
        lengths = np.linalg.norm(update, axis=1, keepdims=True)
        update *= np.minimum(1.0, _LONGEST_STEP / np.maximum(lengths, _LONGEST_STEP))
        layout = layout + update
        layout -= layout.mean(axis=0)
        progress(1)
    return layout


def _attraction(pairs: NearPairs, layout: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the negative pull on each point, (n, 2)."""
    flat = pairs.others.ravel()
    x, y = np.ascontiguousarray(layout.T)
    from_x, from_y = (side[:, np.newaxis] - side[pairs.others] for side in (x, y))
    strength = pairs.weights / (1 + from_x * from_x + from_y * from_y)
    pulls = []
    for part in (from_x, from_y):
        part *= strength
        pulls.append(part.sum(axis=1) - np.bincount(flat, part.ravel(), len(layout)))
    return np.stack(pulls, axis=1).astype(np.float32)


def _completed(earlier: NDArray[np.float32], pairs: NearPairs) -> NDArray[np.float32]:
    """Place the points that an earlier layout lacks among the nearest ones that it has, and centre it at 0."""
    known = ~np.isnan(earlier[:, 0])
    layout = np.where(known[:, np.newaxis], earlier - earlier[known].mean(axis=0), np.float32(0))
    shares = pairs.weights * known[pairs.others]
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    placed = np.einsum("ij,ijk->ik", shares, layout[pairs.others])
    return np.where(known[:, np.newaxis], layout, placed).astype(np.float32)


def _balanced_scale(pairs: NearPairs, layout: NDArray[np.float32]) -> np.float32:
    """Return the scale at which a layout neither grows nor shrinks, or at which it has the largest width allowed."""
    width = float(np.ptp(layout, axis=0).max()) or 1.0
    low, high = np.log(1.0 / width), np.log(WIDEST / width)
    repulsion = Repulsion()
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        scaled = layout * np.float32(np.exp(middle))
        shrinks = float(((_attraction(pairs, scaled) - repulsion.among(scaled)) * scaled).sum()) > 0
        low, high = (low, middle) if shrinks else (middle, high)
    return np.float32(np.exp(low))
