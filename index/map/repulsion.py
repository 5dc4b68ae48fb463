"""How all points of a map repel each other, without computing each pair: the denominator of t-SNE.

The points are spread over the nodes of a grid, the kernel 1 / (1 + d^2) is applied to the grid by Fourier transforms,
and the values at the nodes are interpolated at the points (Linderman et al. 2019, "Fast interpolation-based t-SNE").
The force is half the gradient of the potential, so one spreading and three fields are enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDEST = 250.0
"""The width of a map beyond which forces become coarser, because the grid has no more nodes."""

# The distance between nodes; the kernel is 1 wide. The median error of forces is a fifteenth. Half the step reduces it
# to a hundredth, but takes three times as long, and the map keeps no more neighbours.
_STEP = 0.5
_MARGIN = 2  # nodes beyond the outermost points
_MAX_NODES = int(WIDEST / _STEP) + 2 * _MARGIN + 2  # along each side
_FAST_SIZES = sorted(2**a * 3**b * 5**c for a in range(1, 12) for b in range(4) for c in range(3))  # of transforms


class Repulsion:
    """Computes repulsion for a sequence of layouts, and keeps what they share. For one thread."""

    def __init__(self) -> None:
        self._grid = (0, 0.0)
        self._spectra: list[NDArray[np.complex64]] = []

    def among(self, layout: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the push on each of `(n, 2)` points, as a share of the push of all pairs: (n, 2)."""
        corner = layout.min(axis=0)
        span = float((layout.max(axis=0) - corner).max())
        step = max(_STEP, span / (_MAX_NODES - 2 * _MARGIN - 2))
        nodes = int(span / step) + 2 * _MARGIN + 2
        places, weights = _stencils((layout - corner) / np.float32(step) + np.float32(_MARGIN), nodes)
        charges = np.bincount(places.ravel(), weights.ravel(), nodes * nodes).astype(np.float32)
        size = next(size for size in _FAST_SIZES if size >= 2 * nodes)  # twice, because a transform wraps around
        spectrum = np.fft.rfft2(charges.reshape(nodes, nodes), (size, size))
        fields: list[NDArray[np.float32]] = []
        for kernel in self._kernels(size, step):
            field = np.ascontiguousarray(np.fft.irfft2(spectrum * kernel, (size, size))[:nodes, :nodes])
            fields.append(np.einsum("ij,ij->i", field.ravel()[places], weights))
        potential, *forces = fields
        points = len(layout)
        total = float((potential - _own_potential(weights, step)).sum())
        least = points * (points - 1) / (1 + 2 * span * span)  # a lower bound, against rounding
        shares = np.stack(forces, axis=1) / max(total, least)
        return shares.astype(np.float32)

    def _kernels(self, size: int, step: float) -> list[NDArray[np.complex64]]:
        """Return the transforms of a point's potential, and of its force along both axes, on a grid of this size."""
        if self._grid != (size, step):
            along = (np.fft.fftfreq(size, 1 / size) * step).astype(np.float32)
            rows, columns = along[:, np.newaxis], along[np.newaxis, :]
            potential = 1 / (1 + rows * rows + columns * columns)
            squared = potential * potential
            kernels = potential, squared * rows, squared * columns
            self._spectra = [np.fft.rfft2(kernel).astype(np.complex64) for kernel in kernels]
            self._grid = (size, step)
        return self._spectra


def _own_potential(weights: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """Return each point's own potential at its place on the grid, (n,)."""
    nodes = np.stack(np.meshgrid(np.arange(3), np.arange(3), indexing="ij"), axis=2).reshape(9, 2) * step
    kernel = 1 / (1 + ((nodes[:, np.newaxis] - nodes) ** 2).sum(axis=2))
    potential: NDArray[np.float32] = np.einsum("ij,ij->i", weights @ kernel.astype(np.float32), weights)
    return potential


def _stencils(scaled: NDArray[np.float32], nodes: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nine nodes around each point, and their shares of it, `(n, 9)` both: a parabola along each axis."""
    middle = np.rint(scaled)
    off = scaled - middle
    sides = np.stack([off * (off - 1) / 2, 1 - off * off, off * (off + 1) / 2], axis=2)  # (n, 2, 3)
    weights = (sides[:, 0, :, np.newaxis] * sides[:, 1, np.newaxis, :]).reshape(-1, 9)
    around = (np.arange(-1, 2)[:, np.newaxis] * nodes + np.arange(-1, 2)).ravel()
    places = middle[:, 0].astype(np.int64) * nodes + middle[:, 1].astype(np.int64)
    return places[:, np.newaxis] + around, weights
