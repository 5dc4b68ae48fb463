"""What the distances of a converted model mean, measured on rendered logos that training did not show."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from embeddings.model.description import QUANTILES, DistanceScale
from embeddings.model.embedder import Embedder
from training.batches import BatchShape, Studio

MOST_LABELS_AT_ONCE = 75  # 300 crops of 4 views: 44,850 distances
DIGITS = 4


def measure_distances(studio: Studio, embedder: Embedder, labels: int, views: int) -> DistanceScale:
    """Measure the Euclidean distances between crops of one logo, and between crops of different logos.

    The crops are validation batches of `studio`, embedded as the service does. The distance of two vectors is
    `|a - b|`. The quantiles are over all pairs within a batch, by linear interpolation (type 7 of Hyndman and Fan 1996,
    "Sample quantiles in statistical packages"). Crops of different batches are not compared, because an icon may be in
    several.

    Args:
        studio: draws the crops.
        embedder: of the converted model.
        labels: number of logos in all batches together; at least 2.
        views: crops of each of them; at least 2.
    """
    size = embedder.description.preprocessing.size
    batches = math.ceil(labels / MOST_LABELS_AT_ONCE)
    same, other = [], []
    for number in range(batches):
        shape = BatchShape((number + 1) * labels // batches - number * labels // batches, views, size)
        crops = studio.validation_batch(number, shape)
        vectors = embedder.embed(Image.fromarray(crop) for crop in crops)
        label = np.arange(len(vectors)) // views
        for row in range(len(vectors) - 1):
            distances = np.linalg.norm(vectors[row + 1 :] - vectors[row], axis=1)
            is_same = label[row + 1 :] == label[row]
            same.append(distances[is_same])
            other.append(distances[~is_same])
    return DistanceScale(same=_quantiles(same), other=_quantiles(other))


def _quantiles(distances: list[npt.NDArray[np.float32]]) -> tuple[float, ...]:
    found = np.quantile(np.concatenate(distances).astype(np.float64), QUANTILES)
    return tuple(round(float(value), DIGITS) for value in found)
