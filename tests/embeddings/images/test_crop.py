"""A crop is what Pillow cuts out, and a box that does not suit is refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embeddings.errors import BoundingBoxError
from embeddings.images.decode import check_box, crop_logo
from tests.embeddings.images.pictures import MAX_PIXELS, picture


def crop(image: Image.Image, *box: float, max_pixels: int = MAX_PIXELS) -> Image.Image:
    y_min, x_min, y_max, x_max = box
    return crop_logo(image, (y_min, x_min, y_max, x_max), logo_id=42, max_pixels=max_pixels)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 1, 1),
        (0.0, 0.0, 1.0, 1.0),
        (0.1, 0.2, 0.6, 0.9),
        (0.5, 0.5, 1.5, 1.5),
        (-0.5, -0.5, 0.5, 0.5),
        (-1, -2, 3, 4),
        (0.249, 0.251, 0.751, 0.749),
        (0.05, 0.0125, 0.25, 0.0375),
        (0.98, 0.985, 1.2, 1.2),
    ],
)
def test_a_crop_is_what_pillow_cuts_out(box: tuple[float, float, float, float]) -> None:
    image = picture()
    y_min, x_min, y_max, x_max = box
    expected = image.crop((x_min * 40, y_min * 30, x_max * 40, y_max * 30))
    assert crop(image, *box).size == expected.size
    assert crop(image, *box).tobytes() == expected.tobytes()


def test_edges_fall_on_the_nearest_pixel_and_halves_on_the_even_one() -> None:
    image = picture(10, 10)
    assert crop(image, 0, 0.05, 1, 0.35).tobytes() == image.crop((0, 0, 4, 10)).tobytes()
    assert crop(image, 0.15, 0, 0.44, 1).tobytes() == image.crop((0, 2, 10, 4)).tobytes()


def test_what_a_box_holds_beyond_the_image_is_black() -> None:
    white = Image.new("RGB", (4, 4), "white")
    assert np.asarray(crop(white, 0.5, -0.25, 1.5, 0.5))[..., 0].tolist() == [
        [0, 255, 255],
        [0, 255, 255],
        [0, 0, 0],
        [0, 0, 0],
    ]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 3), (40, 3), (3, 40), (1, 1000)])
def test_an_image_of_any_shape_is_cut(height: int, width: int) -> None:
    assert crop(picture(height, width), 0, 0, 1, 1).tobytes() == picture(height, width).tobytes()


def test_cutting_leaves_the_image_as_it_was() -> None:
    image = picture()
    ImageDraw.Draw(crop(image, 0, 0, 1, 1)).rectangle((0, 0, 40, 30), fill="red")
    assert image.tobytes() == picture().tobytes()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((np.nan, np.nan, 0.6, 0.6), "is not finite"),
        ((0, 0, 1, np.nan), "is not finite"),
        ((0, 0, np.inf, 1), "is not finite"),
        ((-np.inf, 0, 1, 1), "is not finite"),
        ((0.5, 0.5, 0.5, 0.5), "is empty or inverted"),
        ((0, 0.5, 1, 0.5), "is empty or inverted"),
        ((0.6, 0.6, 0.1, 0.1), "is empty or inverted"),
        ((0.1, 0.6, 0.6, 0.1), "is empty or inverted"),
        ((0.6, 0.1, 0.1, 0.6), "is empty or inverted"),
        ((2, 2, 3, 3), "holds no pixel"),
        ((10, 10, 100, 100), "holds no pixel"),
        ((1, 0, 2, 1), "holds no pixel"),
        ((0, 1, 1, 2), "holds no pixel"),
        ((-1, 0, 0, 1), "holds no pixel"),
        ((0, -1, 1, 0), "holds no pixel"),
        ((1e307, 1e307, 1e308, 1e308), "holds no pixel"),
        ((10**400, 0, 10**401, 1), "holds no pixel"),
    ],
)
def test_a_box_that_suits_no_image_is_refused_before_the_image_is_had(box: Any, reason: str) -> None:
    with pytest.raises(BoundingBoxError, match=f"bounding box of logo 42 {reason}"):
        check_box(box, logo_id=42)
    with pytest.raises(BoundingBoxError, match=f"bounding box of logo 42 {reason}"):
        crop(picture(), *box)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((0.001, 0.001, 0.01, 0.01), "holds no pixel"),
        ((0.99, 0.0, 1.0, 1.0), "holds no pixel"),
        ((0.0, 0.99, 1.0, 1.0), "holds no pixel"),
        ((0.0, 0.0, 1.0, 0.01), "holds no pixel"),
        ((-5, -5, 0.01, 0.01), "holds no pixel"),
        ((0, 0, 5e-324, 1), "holds no pixel"),
        ((0, 0, 1e6, 1e6), "selects more than 1,000,000 pixels"),
        ((0, 0, 1e308, 1e308), "selects more than 1,000,000 pixels"),
        ((-1e308, -1e308, 1e308, 1e308), "selects more than 1,000,000 pixels"),
        ((0, 0, 1, 1e308), "selects more than 1,000,000 pixels"),
        ((0, -(10**400), 1, 10**400), "selects more than 1,000,000 pixels"),
        ((0.5, 0.5, 100, 100), "selects more than 1,000,000 pixels"),
    ],
)
def test_a_box_that_does_not_suit_this_image_is_refused(box: Any, reason: str) -> None:
    check_box(box, logo_id=42)
    with pytest.raises(BoundingBoxError, match=f"bounding box of logo 42 {reason}"):
        crop(picture(), *box)


def test_a_crop_of_the_largest_size_is_cut_and_one_row_more_is_not() -> None:
    image = picture(10, 10)
    assert crop(image, 0, 0, 2, 1, max_pixels=200).size == (10, 20)
    with pytest.raises(BoundingBoxError, match="selects more than 200 pixels"):
        crop(image, 0, 0, 2.1, 1, max_pixels=200)


def test_a_crop_may_be_larger_than_the_limit_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert crop(picture(), -0.1, 0, 1, 0.9).size == (36, 33)


def test_random_boxes_are_cut_as_pillow_cuts_them_or_refused() -> None:
    chance = random.Random(21)
    image = picture(23, 37)
    for _ in range(2000):
        box = tuple(chance.choice([chance.uniform(-0.2, 1.2), chance.gauss(0.5, 3), chance.random()]) for _ in range(4))
        y_min, x_min, y_max, x_max = box
        try:
            cut = crop(image, *box)
        except BoundingBoxError:
            left, upper, right, lower = round(x_min * 37), round(y_min * 23), round(x_max * 37), round(y_max * 23)
            assert min(right, 37) <= max(left, 0) or min(lower, 23) <= max(upper, 0)
        else:
            expected = image.crop((x_min * 37, y_min * 23, x_max * 37, y_max * 23))
            assert (cut.size, cut.tobytes()) == (expected.size, expected.tobytes())
