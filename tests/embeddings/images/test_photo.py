"""Logos come from the smallest decoding that keeps what the network sees, and are what the whole photo would give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings.errors import BoundingBoxError, ImageDecodeError
from embeddings.images import photo as room
from embeddings.images.decode import BoundingBox, crop_logo, decode_rgb, read_pixels
from embeddings.images.photo import Photo
from embeddings.model.description import locate_model
from embeddings.model.embedder import Embedder
from embeddings.model.preprocessing import B0_PREPROCESSING, LITE0_PREPROCESSING, RESAMPLING, Preprocessing
from tests.embeddings.images.pictures import encoded, picture

MAX_PIXELS = 10_000_000
SIDE = 10
WHOLE: BoundingBox = (0, 0, 1, 1)


@pytest.fixture
def shrinks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how much the decodings were shrunk, as they come."""
    seen: list[int] = []

    def recorded(image: Any, *, shrink: int) -> Image.Image:
        seen.append(shrink)
        return read_pixels(image, shrink=shrink)

    monkeypatch.setattr(room, "read_pixels", recorded)
    return seen


SQUASHED = replace(B0_PREPROCESSING, size=SIDE)


def photo(data: bytes, preprocessing: Preprocessing = SQUASHED) -> Photo:
    return Photo(data, preprocessing=preprocessing, max_pixels=MAX_PIXELS)


def cut_whole(data: bytes, box: BoundingBox) -> Image.Image:
    return crop_logo(decode_rgb(data, max_pixels=MAX_PIXELS), box, logo_id=1, max_pixels=MAX_PIXELS)


def levels(image: Image.Image) -> Any:
    return np.asarray(image, int)


@pytest.mark.parametrize(
    ("height", "shrink"), [(5, 1), (39, 1), (40, 2), (79, 2), (80, 4), (159, 4), (160, 8), (320, 8), (400, 8)]
)
def test_the_smallest_decoding_that_leaves_twice_the_networks_side_is_taken(
    height: int, shrink: int, shrinks: list[int]
) -> None:
    crop = photo(encoded(picture(400, 400), "JPEG")).crop((0, 0, height / 400, 1), logo_id=1)
    assert shrinks == [shrink]
    assert crop.size == ((400, height) if shrink == 1 else (SIDE, SIDE))


@pytest.mark.parametrize("size", [(160, 160), (163, 201), (320, 511), (641, 640)])
@pytest.mark.parametrize("box", [WHOLE, (0.011, 0.007, 0.993, 0.989), (0.3, 0.2, 0.91, 0.83)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_logo_of_a_smaller_decoding_looks_like_that_of_the_whole(
    size: tuple[int, int], box: BoundingBox, options: dict[str, Any]
) -> None:
    data = encoded(picture(*size), "JPEG", quality=95, **options)
    expected = cut_whole(data, box).resize((SIDE, SIDE), RESAMPLING)
    assert np.abs(levels(photo(data).crop(box, logo_id=1)) - levels(expected)).max() <= 4


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("image_format", ["JPEG", "MPO"])
def test_a_jpeg_of_any_mode_is_shrunk(mode: str, image_format: str, shrinks: list[int]) -> None:
    data = encoded(picture(320, 320).convert(mode), image_format, quality=95)
    crop = photo(data).crop(WHOLE, logo_id=1)
    assert (crop.mode, shrinks) == ("RGB", [8])
    assert np.abs(levels(crop) - levels(cut_whole(data, WHOLE).resize((SIDE, SIDE)))).max() <= 4


def test_borders_between_the_pixels_of_a_smaller_decoding_stay_where_they_are() -> None:
    right_white = Image.new("RGB", (640, 640))
    right_white.paste("white", (325, 0, 640, 640))
    data = encoded(right_white, "JPEG", quality=100, subsampling=0)
    white_on_the_right = photo(data).crop((0, 309 / 640, 1, 1), logo_id=1)
    expected = cut_whole(data, (0, 309 / 640, 1, 1)).resize((SIDE, SIDE), RESAMPLING)
    assert np.abs(levels(white_on_the_right)[0, :, 0] - levels(expected)[0, :, 0]).max() < 12  # a pixel is worth 61


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_other_formats_are_decoded_once_and_whole(image_format: str, shrinks: list[int]) -> None:
    data = encoded(picture(320, 320), image_format)
    several = photo(data)
    for box in (WHOLE, (0.1, 0.1, 0.2, 0.2)):
        assert several.crop(box, logo_id=1).tobytes() == cut_whole(data, box).tobytes()
    assert shrinks == [1]


def test_a_logo_over_the_border_is_cut_from_the_whole(shrinks: list[int]) -> None:
    data = encoded(picture(320, 320), "JPEG")
    for box in ((-0.1, 0, 1, 1), (0, -0.1, 1, 1), (0, 0, 1.1, 1), (0, 0, 1, 1.1)):
        assert photo(data).crop(box, logo_id=1).tobytes() == cut_whole(data, box).tobytes()
    assert shrinks == [1, 1, 1, 1]


def test_a_logo_does_not_depend_on_the_others_and_no_decoding_is_done_twice(shrinks: list[int]) -> None:
    data = encoded(picture(320, 320), "JPEG")
    boxes: list[BoundingBox] = [WHOLE, (0.4, 0.4, 0.5, 0.5), (0, 0, 0.3, 0.3), (0.1, 0.1, 1, 1), (0.1, 0, 0.2, 1)]
    alone = [photo(data).crop(box, logo_id=1).tobytes() for box in boxes]
    shrinks.clear()
    together = photo(data)
    assert [together.crop(box, logo_id=1).tobytes() for box in boxes] == alone
    assert shrinks == [8, 1, 4]


@pytest.mark.parametrize("box", [(0.5, 0.5, 0.5, 0.5), (2, 2, 3, 3), (0.6, 0.6, 0.1, 0.1), (0, 0, 1e6, 1e6)])
def test_a_box_that_cannot_be_used_is_refused_before_anything_is_decoded(box: BoundingBox, shrinks: list[int]) -> None:
    with pytest.raises(BoundingBoxError, match="logo 42"):
        photo(encoded(picture(320, 320), "JPEG")).crop(box, logo_id=42)
    assert shrinks == []


def test_the_limit_is_of_the_whole_photo_however_small_it_would_be_decoded() -> None:
    data = encoded(picture(320, 320), "JPEG")
    assert Photo(data, preprocessing=SQUASHED, max_pixels=320 * 320).crop(WHOLE, logo_id=1).size == (SIDE, SIDE)
    with pytest.raises(ImageDecodeError, match="320 x 320 pixels"):
        Photo(data, preprocessing=SQUASHED, max_pixels=320 * 320 - 1)


@pytest.mark.parametrize("left", [0, 1, 2, 100, 0.5, 0.9])
def test_a_truncated_photo_is_refused_at_any_size(left: float) -> None:
    data = encoded(picture(320, 320), "JPEG", quality=95)
    cut = data[: int(left * len(data)) if isinstance(left, float) else left]
    for box in (WHOLE, (0, 0, 0.1, 0.1)):
        with pytest.raises(ImageDecodeError):
            photo(cut).crop(box, logo_id=1)


def test_the_vector_of_a_large_logo_hardly_moves() -> None:
    embedder = Embedder(locate_model("efficientnet-lite0", "bundled", Path()))
    chance = np.random.default_rng(3)
    coarse = Image.fromarray(chance.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    pixels = levels(coarse.resize((2000, 1500), Image.Resampling.BICUBIC)) + chance.integers(-18, 19, (1500, 2000, 3))
    data = encoded(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "JPEG", quality=88)
    boxes: list[BoundingBox] = [WHOLE, (0.013, 0.017, 0.95, 0.9)]
    shrunk = photo(data, embedder.description.preprocessing)
    ours = embedder.embed(shrunk.crop(box, logo_id=1) for box in boxes)
    whole = embedder.embed(cut_whole(data, box) for box in boxes)
    scale = embedder.description.distances
    assert scale is not None
    assert 0 < np.linalg.norm(ours - whole, axis=1).max() < 0.03 * scale.alike


@pytest.mark.parametrize(("height", "shrink"), [(400, 8), (100, 8), (10, 4)])
def test_a_letterboxed_crop_keeps_its_aspect_and_twice_what_is_seen_of_it(
    height: int, shrink: int, shrinks: list[int]
) -> None:
    seen_as = replace(LITE0_PREPROCESSING, size=SIDE)
    crop = photo(encoded(picture(400, 400), "JPEG"), seen_as).crop((0, 0, height / 400, 1), logo_id=1)
    assert shrinks == [shrink]
    assert crop.size == seen_as.fitted_size(400, height) == (SIDE, max(1, round(SIDE * height / 400)))
    assert seen_as.square(crop).size == (SIDE, SIDE)
