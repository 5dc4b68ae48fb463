from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from types import SimpleNamespace
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from embeddings.model.description import QUANTILES
from embeddings.model.embedder import Embedder
from training.batches import BatchShape, Studio
from training.distances import MOST_LABELS_AT_ONCE, measure_distances

SIZE = 8
NEXT_BATCH = 1000.0


class PlainColours:
    """A studio whose logos are plain colours, slightly different in each view."""

    def __init__(self) -> None:
        self.shapes: list[BatchShape] = []

    def validation_batch(self, number: int, shape: BatchShape) -> npt.NDArray[np.uint8]:
        self.shapes.append(shape)
        rng = np.random.default_rng(number)
        colours = np.repeat(rng.integers(0, 250, (shape.labels, 3)), shape.views, axis=0)
        colours = colours + rng.integers(0, 6, colours.shape)
        return np.broadcast_to(colours[:, None, None], (len(colours), SIZE, SIZE, 3)).astype(np.uint8)


class MeanColour:
    """An embedder of mean colours; the vectors of another call are far away."""

    description = SimpleNamespace(preprocessing=SimpleNamespace(size=SIZE))

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, crops: Iterable[Image.Image]) -> npt.NDArray[np.float32]:
        self.calls += 1
        means = [np.asarray(crop).mean(axis=(0, 1)) for crop in crops]
        return (np.array(means) + self.calls * NEXT_BATCH).astype(np.float32)


@pytest.fixture
def colours() -> PlainColours:
    return PlainColours()


def measured(colours: PlainColours, labels: int, views: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale = measure_distances(cast("Studio", colours), cast("Embedder", MeanColour()), labels, views)
    return scale.same, scale.other


def test_crops_of_one_logo_are_nearer_than_those_of_others(colours: PlainColours) -> None:
    same, other = measured(colours, 40, 4)
    assert all(near < far for near, far in zip(same, other, strict=True))
    assert same[-1] < other[1]


def test_the_quantiles_are_those_of_all_pairs(colours: PlainColours) -> None:
    same, other = measured(colours, 5, 3)
    means = MeanColour().embed(Image.fromarray(crop) for crop in colours.validation_batch(0, BatchShape(5, 3, SIZE)))
    pairs = [
        (one // 3 == two // 3, float(np.linalg.norm(means[one] - means[two])))
        for one, two in combinations(range(15), 2)
    ]
    for quantiles, is_same in ((same, True), (other, False)):
        assert [type(value) for value in quantiles] == [float] * len(QUANTILES)
        assert list(quantiles) == sorted(quantiles)
        expected = np.quantile([distance for alike, distance in pairs if alike is is_same], QUANTILES)
        np.testing.assert_allclose(quantiles, expected, atol=1e-4)
        assert all(value == round(value, 4) for value in quantiles)


def test_crops_of_different_batches_are_not_compared(colours: PlainColours) -> None:
    labels = 2 * MOST_LABELS_AT_ONCE + 10
    _, other = measured(colours, labels, 2)
    assert other[-1] < NEXT_BATCH / 2
    assert len(colours.shapes) == 3
    assert sum(shape.labels for shape in colours.shapes) == labels
    assert max(shape.labels for shape in colours.shapes) <= MOST_LABELS_AT_ONCE
    assert {(shape.views, shape.size) for shape in colours.shapes} == {(2, SIZE)}


def test_the_validation_crops_of_a_studio_are_measured(studio: Studio) -> None:
    scale = measure_distances(studio, cast("Embedder", MeanColour()), 12, 3)
    assert scale.same[3] < scale.other[3]
