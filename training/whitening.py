"""The last layer of the network: rotate its features to principal components, and scale each.

The components of rendered logos differ in variance by orders of magnitude, so a few of them dominate all distances.
Each is divided by the fourth root of its variance, half way to whitening (Jégou and Chum 2012, "Negative evidences and
co-occurrences in image retrieval"): full whitening gives too much weight to the smallest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EXPONENT = -0.25
SMALLEST_SHARE = 1e-6  # of the largest variance; smaller ones count as this


def half_whitening(features: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the kernel `(dim, dim)` and the bias `(dim,)` of a dense layer that half-whitens features like these.

    Args:
        features: `(n, dim)`, of many more logos than `dim`.
    """
    exact = features.astype(np.float64)
    mean = exact.mean(axis=0)
    variances, components = np.linalg.eigh(np.cov(exact, rowvar=False))
    scales = np.maximum(variances, variances[-1] * SMALLEST_SHARE) ** EXPONENT
    kernel = (components * scales)[:, ::-1]
    return kernel.astype(np.float32), (-mean @ kernel).astype(np.float32)
