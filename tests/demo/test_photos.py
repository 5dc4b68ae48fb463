from __future__ import annotations

import colorsys
import io
from collections import Counter

import pytest
from PIL import Image, ImageChops

from demo.brands import BRANDS, Brand
from demo.lettering import Colour
from demo.marked_picture import MarkedPicture
from demo.photos import Photo, make_photos


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    return list(make_photos(36, seed=1))


def test_same_seed_gives_the_same_bytes_and_boxes() -> None:
    assert list(make_photos(4, seed=7)) == list(make_photos(4, seed=7))


def test_different_seed_gives_different_photos() -> None:
    assert {photo.jpeg for photo in make_photos(4, seed=7)}.isdisjoint(photo.jpeg for photo in make_photos(4, seed=8))


def test_every_third_photo_shows_two_different_brands(photos: list[Photo]) -> None:
    shown = [[logo.brand.name for logo in photo.logos] for photo in photos]
    assert [len(names) for names in shown] == [1, 1, 2] * 12
    assert all(len(set(names)) == len(names) for names in shown)


def test_each_brand_appears_on_four_to_six_photos(photos: list[Photo]) -> None:
    times = Counter(logo.brand.name for photo in photos for logo in photo.logos)
    assert set(times) == {brand.name for brand in BRANDS}
    assert all(4 <= count <= 6 for count in times.values())


def test_few_photos_repeat_few_brands_so_that_each_has_neighbours() -> None:
    times = Counter(logo.brand.name for photo in make_photos(6, seed=1) for logo in photo.logos)
    assert sorted(times.values()) == [4, 4]


def test_logo_ids_are_unique(photos: list[Photo]) -> None:
    ids = [logo.logo_id for photo in photos for logo in photo.logos]
    assert len(set(ids)) == len(ids) == 48


def test_boxes_are_fractions_with_the_upper_left_corner_first(photos: list[Photo]) -> None:
    for photo in photos:
        for logo in photo.logos:
            y_min, x_min, y_max, x_max = logo.box
            assert 0 <= y_min < y_max <= 1
            assert 0 <= x_min < x_max <= 1


def test_boxes_lie_on_their_logos(photos: list[Photo]) -> None:
    for photo in photos:
        picture = Image.open(io.BytesIO(photo.jpeg))
        for logo in photo.logos:
            y_min, x_min, y_max, x_max = logo.box
            left, top, right, bottom = (
                round(x_min * picture.width),
                round(y_min * picture.height),
                round(x_max * picture.width),
                round(y_max * picture.height),
            )
            crop = picture.crop((left, top, right, bottom))
            assert share_of_colour(crop, logo.brand.colour) > 0.15, (photo.name, logo)
            assert min(crop.size) >= 20


@pytest.mark.parametrize("brand", BRANDS, ids=lambda brand: brand.name)
def test_logo_fills_its_picture_and_shows_its_colour(brand: Brand) -> None:
    logo = brand.logo()
    left, top, right, bottom = logo.getchannel("A").getbbox() or (0, 0, 0, 0)
    assert right - left > 0.95 * logo.width
    assert bottom - top > 0.85 * logo.height
    assert share_of_colour(logo.convert("RGB"), brand.colour) > 0.1


def test_box_follows_its_logo_through_every_move() -> None:
    mask = Image.new("L", (100, 80))
    mask.paste(255, (20, 10, 60, 30))
    marked = MarkedPicture(Image.new("RGBA", (100, 80)), (mask,))
    assert marked.boxes((100, 80), (0, 0)) == [(10 / 80, 20 / 100, 30 / 80, 60 / 100)]
    assert marked.placed((200, 160), (50, 40)).boxes((200, 160), (0, 0)) == [(50 / 160, 70 / 200, 70 / 160, 110 / 200)]
    assert marked.shrunk_into(50, 80).boxes((50, 40), (0, 0)) == [(5 / 40, 10 / 50, 15 / 40, 30 / 50)]
    assert marked.tilted(90).boxes((80, 100), (0, 0)) == [(40 / 100, 10 / 80, 80 / 100, 30 / 80)]
    assert marked.boxes((100, 80), (-30, 0)) == [(10 / 80, 0, 30 / 80, 30 / 100)]


def test_hidden_logo_is_an_error_instead_of_a_wrong_box() -> None:
    marked = MarkedPicture(Image.new("RGBA", (10, 10)), (Image.new("L", (10, 10), 255),))
    with pytest.raises(AssertionError, match="hides its logo"):
        marked.cut(Image.new("L", (10, 10))).boxes((10, 10), (0, 0))


def share_of_colour(picture: Image.Image, colour: Colour) -> float:
    """Return the share of pixels that have about the hue of a colour and are not pale; for black, of dark ones."""
    hue, saturation, value = (255 * part for part in colorsys.rgb_to_hsv(*(part / 255 for part in colour)))
    hues, saturations, values = picture.convert("HSV").split()
    if value < 40:  # black has no hue
        near = values.point([255 if dark < 90 else 0 for dark in range(256)])
    else:
        near = ImageChops.darker(
            hues.point([255 if min((own - hue) % 256, (hue - own) % 256) < 14 else 0 for own in range(256)]),
            saturations.point([255 if own > saturation * 0.5 else 0 for own in range(256)]),
        )
    return near.histogram()[255] / (picture.width * picture.height)
