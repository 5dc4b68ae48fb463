"""What the figures are measured on: vectors and crops, drawn by a seed.

The vectors are like those of logos: 20 of a brand lie near each other, and all vary in a few dozen directions
that many of the 1280 values share. The parameters are such that 712 of them have about the distances of
712 real logos, embedded with the bundled weights: medians of 55 between any two, 26 to the nearest, 29 to the
tenth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DIM = 1280
SMALLEST_ID = 100_000
LOGOS_OF_A_BRAND = 20
LATENT_DIM = 32
SPREAD_OF_A_BRAND = 0.4  # of its logos, in standard deviations of the brands
NOISE = 0.3  # of each value, on its own


def draw_logos(count: int, seed: int, block: int = 10_000) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield ids, `(n,)`, and vectors, `(n, 1280)`, of `count` logos; at most `block` at a time."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(4.0, 0.55, DIM).astype(np.float32)
    directions = rng.standard_normal((LATENT_DIM, DIM), np.float32) / np.float32(LATENT_DIM**0.5)
    brands = rng.standard_normal((max(1, count // LOGOS_OF_A_BRAND), LATENT_DIM), np.float32)
    ids = SMALLEST_ID + 7 * rng.permutation(count)
    for start in range(0, count, block):
        of_block = ids[start : start + block]
        latent = brands[rng.integers(0, len(brands), len(of_block))]
        latent += SPREAD_OF_A_BRAND * rng.standard_normal(latent.shape, np.float32)
        vectors = base + latent @ directions + NOISE * rng.standard_normal((len(of_block), DIM), np.float32)
        yield of_block, np.maximum(vectors, 0)


def draw_crops(count: int, seed: int) -> list[Image.Image]:
    """Draw crops of a few hundred pixels a side, as logos on a photo have."""
    rng = np.random.default_rng(seed)
    crops = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        width, height = rng.integers(80, 500, 2).tolist()
        crops.append(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return crops
