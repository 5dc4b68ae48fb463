"""Every kind of image becomes RGB, bytes that are none become an `ImageError`, and boxes cut out what they say."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from embeddings.errors import ImageDecodeError
from embeddings.images.decode import FORMATS
from embeddings.images.rgb import to_rgb
from tests.embeddings.images.pictures import decoded, encoded, levels, picture


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
    ],
)
def test_a_lossless_file_is_decoded_to_its_pixels(image_format: str, options: dict[str, Any]) -> None:
    image = decoded(encoded(picture(), image_format, **options))
    assert image.mode == "RGB"
    assert image.tobytes() == picture().tobytes()


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("MPO", {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (40, 30))]}),
        ("WEBP", {"quality": 95}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
        ("GIF", {}),
    ],
)
def test_a_lossy_file_is_decoded_to_about_its_pixels(image_format: str, options: dict[str, Any]) -> None:
    image = decoded(encoded(picture(), image_format, **options))
    assert image.mode == "RGB"
    assert image.size == (40, 30)
    assert np.abs(np.asarray(image, int) - np.asarray(picture(), int)).mean() < 10


@pytest.mark.parametrize("image_format", ["ICO", "PPM", "TGA", "EPS", "PDF", "JPEG2000", "AVIF", "PCX", "ICNS", "DDS"])
def test_a_format_that_is_not_listed_is_refused(image_format: str) -> None:
    assert image_format not in FORMATS
    with pytest.raises(ImageDecodeError, match="no image of a format that is read: JPEG, PNG"):
        decoded(encoded(picture(), image_format))


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff\xd8", b"<html>not an image</html>", b"%!PS-Adobe-3.0", bytes(5000)]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageDecodeError):
        decoded(data)


@pytest.mark.parametrize(("image_format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_the_first_frame_of_an_animation_is_the_image(image_format: str, options: dict[str, Any]) -> None:
    red, blue = Image.new("RGB", (9, 5), "red"), Image.new("RGB", (9, 5), "blue")
    data = encoded(red, image_format, save_all=True, append_images=[blue, red], duration=100, **options)
    assert decoded(data).tobytes() == red.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_an_image_is_not_turned(image_format: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = decoded(encoded(picture(), image_format, exif=exif, **options))
    assert image.size == (40, 30)
    assert image.tobytes() == picture().tobytes()


def test_a_photo_is_not_turned() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    assert decoded(encoded(picture(), "JPEG", exif=exif)).tobytes() == decoded(encoded(picture(), "JPEG")).tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_a_mode_of_eight_bits_becomes_what_pillow_makes_of_it(mode: str) -> None:
    image = picture().convert("RGBA" if mode == "PA" else "RGB").convert(mode)  # opaque
    assert image.mode == mode
    converted = to_rgb(image)
    assert converted.mode == "RGB"
    assert converted.tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_of_pillow_becomes_rgb(mode: str) -> None:
    image = to_rgb(Image.new(mode, (7, 3)))
    assert (image.mode, image.size) == ("RGB", (7, 3))


@pytest.mark.parametrize(
    ("mode", "image_format", "options"),
    [
        ("1", "PNG", {}),
        ("1", "TIFF", {"compression": "group4"}),
        ("L", "JPEG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {}),
        ("P", "BMP", {}),
        ("PA", "TIFF", {}),
        ("RGBA", "PNG", {}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("CMYK", "JPEG", {}),
        ("CMYK", "TIFF", {}),
        ("YCbCr", "TIFF", {}),
        ("YCbCr", "JPEG", {}),
        ("LAB", "TIFF", {}),
        ("RGBX", "TIFF", {}),
    ],
)
def test_a_file_of_any_mode_becomes_what_pillow_makes_of_it(mode: str, image_format: str, options: Any) -> None:
    source = picture().convert("RGBA" if mode == "PA" else "RGB").convert(mode)
    data = encoded(source, image_format, **options)
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        opened.info.clear()
        expected = opened.convert("RGB")
    assert decoded(data).tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_sixteen_bits_are_scaled_and_not_clipped(mode: str) -> None:
    ramp = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], ">u2" if mode == "I;16B" else "<u2")
    image = Image.frombytes(mode, (8, 1), ramp.tobytes())
    assert levels(to_rgb(image)).tolist() == [[0, 0, 1, 1, 128, 254, 255, 255]]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_file_of_sixteen_bits_looks_like_its_eight_bit_twin(image_format: str) -> None:
    grey = np.asarray(picture().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert (levels(decoded(encoded(deep, image_format))) == grey).all()


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([0, 1, 100, 255], [0, 1, 100, 255]),
        ([0, 257, 32896, 65535], [0, 1, 128, 255]),
        ([0, 256, 0, 0], [0, 1, 0, 0]),
        ([0, 1 << 20, 1 << 21, 1 << 22], [0, 64, 128, 255]),
        ([-100, 0, 100, 100], [0, 128, 255, 255]),
        ([-(2**31), -1, 0, 2**31 - 1], [0, 127, 128, 255]),
        ([-5, -5, -5, -5], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_integers_are_scaled_by_the_smallest_range_that_holds_them(pixels: list[int], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([pixels], np.int32)), "TIFF")
    assert np.abs(levels(decoded(data)).astype(int) - [expected]).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([0, 0.25, 0.5, 1], [0, 64, 128, 255]),
        ([0, 1, 100, 255], [0, 1, 100, 255]),
        ([0, 257, 32896, 65535], [0, 1, 128, 255]),
        ([-1, -0.5, 0, 1], [0, 64, 128, 255]),
        ([-3e38, 0, 3e38, 3e38], [0, 128, 255, 255]),
        ([0, 0.5, np.nan, 1], [0, 128, 0, 255]),
        ([0, 0.5, np.inf, -np.inf], [0, 128, 255, 0]),
        ([np.nan, np.nan, np.inf, -np.inf], [0, 0, 255, 0]),
        ([1e-40, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_the_smallest_range_that_holds_them(pixels: list[float], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([pixels], np.float32)), "TIFF")
    assert np.abs(levels(decoded(data)).astype(int) - [expected]).max() <= 1


def test_a_large_grey_image_is_scaled_throughout() -> None:
    ramp = np.linspace(0, 65535, 1500 * 1000).reshape(1500, 1000)
    grey = levels(to_rgb(Image.fromarray(ramp.astype(np.uint16))))
    assert np.abs(grey - ramp / 257).max() <= 0.51
