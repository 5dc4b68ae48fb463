from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from embeddings.model.preprocessing import LITE0_PREPROCESSING, Preprocessing
from training.artwork import Gallery
from training.grounds import Grounds
from training.labels import Fonts, Label, LabelPainter, Palette
from training.photographs import Crop, _crop_shape, photograph

PALETTE = Palette((255, 255, 255), (20, 40, 120), (200, 30, 30))


def of_size(size: int) -> Preprocessing:
    return replace(LITE0_PREPROCESSING, size=size)


def checks() -> Label:
    """Return a label that fills its frame with 4 x 6 random squares of strong colours."""
    squares = np.random.default_rng(3).choice([0, 255], (4, 6, 3)).astype(np.uint8)
    pixels = np.repeat(np.repeat(squares, 30, axis=0), 30, axis=1)
    return Label((np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),), PALETTE)


def likeness(crop: Crop, label: Label) -> float:
    """Return the highest correlation of a label with any upright part of the crop."""
    plain = label.versions[0][..., :3]
    best = -1.0
    for width in range(16, 33, 3):
        for height in range(16, 33, 3):
            part = cv2.resize(plain, (width, height), interpolation=cv2.INTER_AREA)
            best = max(best, float(cv2.matchTemplate(crop, part, cv2.TM_CCOEFF_NORMED).max()))
    return best


def test_crops_are_squares_of_the_size_that_is_asked_for(gallery: Gallery, fonts: Fonts) -> None:
    rng = np.random.default_rng(1)
    painter = LabelPainter(gallery, fonts, rng)
    for size in (32, 64, 224):
        crop = photograph(painter.word_label(), of_size(size), rng)
        assert crop.shape == (size, size, 3)
        assert crop.dtype == np.uint8


def test_the_same_numbers_take_the_same_photo() -> None:
    label = checks()

    def shoot(seed: int) -> bytes:
        return photograph(label, of_size(48), np.random.default_rng(seed)).tobytes()

    assert [shoot(seed) for seed in range(20)] == [shoot(seed) for seed in range(20)]
    assert len({shoot(seed) for seed in range(20)}) == 20


def test_every_call_takes_another_photo() -> None:
    label, rng = checks(), np.random.default_rng(1)
    assert len({photograph(label, of_size(48), rng).tobytes() for _ in range(20)}) == 20


def test_a_photo_shows_the_label_upright_in_most_cases() -> None:
    label = checks()
    upside_down = Label((label.versions[0][::-1].copy(),), PALETTE)
    crops = [photograph(label, of_size(32), np.random.default_rng(seed)) for seed in range(40)]
    assert np.mean([likeness(crop, label) > likeness(crop, upside_down) for crop in crops]) > 0.75
    assert np.median([likeness(crop, label) for crop in crops]) > 0.6


def test_crops_keep_their_aspect_on_the_grey_of_serving() -> None:
    label = Label((np.full((60, 240, 4), 255, np.uint8),), PALETTE)
    crops = [photograph(label, of_size(160), np.random.default_rng(seed)) for seed in range(60)]
    lying = [crop for crop in crops if (crop[[0, -1]] == LITE0_PREPROCESSING.fill).all()]
    assert len(lying) > 35
    assert not any((crop == LITE0_PREPROCESSING.fill).all(axis=(0, 2)).any() for crop in lying)


def test_photographs_lie_under_and_around_the_label(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "any.png")
    asked: list[tuple[int, int]] = []

    class Meadow(Grounds):
        def draw(
            self, height: int, width: int, colour: tuple[int, int, int], rng: np.random.Generator
        ) -> npt.NDArray[np.float32] | None:
            asked.append((height, width))
            return np.full((height, width, 3), (0, 255, 0), np.float32)

    rng = np.random.default_rng(5)
    clear = Label((np.zeros((40, 40, 4), np.uint8),), PALETTE)
    crops = [photograph(clear, of_size(32), rng, Meadow(tmp_path)) for _ in range(40)]
    middles = np.array([np.median(crop[8:24, 8:24].astype(int), axis=(0, 1)) for crop in crops])
    assert np.mean(middles[:, 1] > np.maximum(middles[:, 0], middles[:, 2])) > 0.9
    assert len(set(asked)) > 4


def test_the_label_is_still_seen_in_all_photos_together() -> None:
    """Two views of one label are more similar than views of two labels, in coarse colours and shapes."""
    rng = np.random.default_rng(2)
    labels = []
    for number in range(8):
        squares = np.random.default_rng(number).choice([0, 255], (3, 3, 3)).astype(np.uint8)
        pixels = np.repeat(np.repeat(squares, 40, axis=0), 40, axis=1)
        labels.append(Label((np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),), PALETTE))
    crops = np.stack([photograph(label, of_size(32), rng) for label in labels for _ in range(12)])
    small = np.stack([cv2.resize(crop, (6, 6), interpolation=cv2.INTER_AREA).ravel() for crop in crops])
    correlations = np.corrcoef(small)
    same = np.kron(np.eye(8), np.ones((12, 12))).astype(bool)
    assert correlations[same & ~np.eye(96, dtype=bool)].mean() > correlations[~same].mean() + 0.2


def test_every_version_of_a_label_is_photographed_and_the_first_most() -> None:
    def plain(colour: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.full((60, 60, 4), (*colour, 255), np.uint8)

    label = Label((plain((255, 0, 0)), plain((0, 0, 255))), PALETTE)
    rng = np.random.default_rng(4)
    middles = [photograph(label, of_size(32), rng)[16, 16].astype(int) for _ in range(100)]
    red = sum(bool(middle[0] > middle[2]) for middle in middles)
    assert 70 < red < 98


@pytest.mark.parametrize("shape", [(12, 512), (512, 12), (8, 8)])
def test_labels_of_any_shape_can_be_photographed(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(6)
    label = Label((np.full((*shape, 4), 255, np.uint8),), PALETTE)
    crops = [photograph(label, of_size(40), rng) for _ in range(40)]
    assert {crop.shape for crop in crops} == {(40, 40, 3)}
    assert np.std([crop.mean() for crop in crops]) > 5


@pytest.mark.parametrize("aspect", [1 / 8, 1 / 2, 1.0, 2.0, 8.0])
def test_a_crop_that_is_too_large_is_scaled_with_its_aspect_kept(aspect: float) -> None:
    """Serving scales it like this; otherwise long logos would be squeezed in training only."""
    rng = np.random.default_rng(2)
    sizes = [_crop_shape(aspect, 160, rng) for _ in range(300)]
    assert max(max(size) for size in sizes) == 160
    wide_enough = [(height, width) for height, width in sizes if min(height, width) > 12]
    assert wide_enough
    for height, width in wide_enough:
        assert (height - 1) / (width + 1) < aspect < (height + 1) / (width - 1)
