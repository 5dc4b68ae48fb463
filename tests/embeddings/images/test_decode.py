"""Every kind of image becomes RGB, bytes that are none become an `ImageError`, and boxes cut out what they say."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw

from embeddings.errors import BoundingBoxError, ImageDecodeError
from embeddings.images.decode import FORMATS, check_box, crop_logo, decode_rgb
from embeddings.images.rgb import to_rgb

MAX_PIXELS = 1_000_000


def picture(height: int = 30, width: int = 40) -> Image.Image:
    """Make an RGB image of which no part is like another, soft enough for JPEG to keep it."""
    y, x = np.mgrid[:height, :width]
    bands = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)], axis=-1)
    return Image.fromarray(bands.astype(np.uint8))


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def decoded(data: bytes) -> Image.Image:
    return decode_rgb(data, max_pixels=MAX_PIXELS)


def levels(image: Image.Image) -> NDArray[np.uint8]:
    """Return the one channel of a grey image that was turned to RGB."""
    channels = np.asarray(image)
    assert (channels == channels[..., :1]).all()
    return channels[..., 0]


# Formats


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


# Modes


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


# Sizes


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in (header, *chunks, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data


def gif(width: int, height: int, frame_width: int, frame_height: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, frame_width, frame_height, 0) + b"\x02\x02\x4c\x01\x00;"


def tiff(width: int, height: int, *tags: tuple[int, int], order: str = "<") -> bytes:
    """Make a TIFF of nothing but a list of tags, each with one 32-bit value."""
    entries = sorted([(256, width), (257, height), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (279, 9), *tags])
    data = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    return data + b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)


def webp(chunk: bytes, content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(content) + 12) + b"WEBP" + chunk + struct.pack("<I", len(content)) + content


BOMBS = {
    "png": png(60_000, 60_000),
    "gif screen": gif(60_000, 60_000, 1, 1),
    "gif frame": gif(1, 1, 60_000, 60_000),
    "tiff": tiff(60_000, 60_000),
    "big-endian tiff": tiff(60_000, 60_000, order=">"),
    "bmp": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    + bytes(99),
    "jpeg": b"\xff\xd8\xff\xc0\x00\x0b\x08\xea\x60\xea\x60\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00",
    "webp": webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(99)),
    "lossless webp": webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(99)),
    "extended webp": webp(b"VP8X", bytes(4) + b"\x3f\x9c\x00\x3f\x9c\x00" + bytes(99)),
}


@pytest.mark.parametrize("pillow_limit", [None, 100, 10**12])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_an_image_that_states_too_many_pixels_is_refused_whatever_the_limit_of_pillow(
    bomb: bytes, pillow_limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    tracemalloc.start()
    try:
        with pytest.raises(ImageDecodeError, match=r"too large|decompression bomb"):
            decoded(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_an_image_of_the_largest_size_is_read_and_one_pixel_more_is_not() -> None:
    data = encoded(picture(30, 40), "PNG")
    assert decode_rgb(data, max_pixels=1200).size == (40, 30)
    with pytest.raises(ImageDecodeError, match="40 x 30 pixels, and 1,199 pixels are read at most"):
        decode_rgb(data, max_pixels=1199)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "WEBP", "GIF"])
def test_the_limit_may_be_above_that_of_pillow(image_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(picture(), image_format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    assert decoded(data).size == (40, 30)


@pytest.mark.parametrize("data", [png(0, 0), png(0, 9), tiff(0, 9), gif(0, 0, 0, 0)])
def test_an_image_without_pixels_is_refused(data: bytes) -> None:
    with pytest.raises(ImageDecodeError):
        decoded(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiled_tiff_is_refused_because_one_tile_may_be_far_larger_than_the_image(order: str) -> None:
    with pytest.raises(ImageDecodeError, match="tiled TIFF"):
        decoded(tiff(10, 10, (322, 32_000), (323, 32_000), order=order))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = encoded(picture(), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    many = data[:-2] + last_scan * 200 + data[-2:]
    assert decode_rgb(many, max_pixels=1_000_000).size == (40, 30)
    with pytest.raises(ImageDecodeError, match="far too many scans"):
        decode_rgb(many, max_pixels=1200)


# Damage


SAMPLES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(picture(), "JPEG"),
    "progressive jpeg": lambda: encoded(picture(), "JPEG", progressive=True),
    "mpo": lambda: encoded(picture(), "MPO", save_all=True, append_images=[picture()]),
    "png": lambda: encoded(picture(), "PNG"),
    "palette png": lambda: encoded(picture().convert("P"), "PNG", transparency=b"\0\1"),
    "animated png": lambda: encoded(picture(), "PNG", save_all=True, append_images=[picture().rotate(90)]),
    "webp": lambda: encoded(picture(), "WEBP"),
    "lossless webp": lambda: encoded(picture(), "WEBP", lossless=True),
    "animated webp": lambda: encoded(picture(), "WEBP", save_all=True, append_images=[picture().rotate(90)]),
    "gif": lambda: encoded(picture(), "GIF"),
    "animated gif": lambda: encoded(picture(), "GIF", save_all=True, append_images=[picture().rotate(90)]),
    "bmp": lambda: encoded(picture(), "BMP"),
    "tiff": lambda: encoded(picture(), "TIFF"),
    "lzw tiff": lambda: encoded(picture(), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": lambda: encoded(picture(), "TIFF", compression="jpeg"),
    "float tiff": lambda: encoded(picture().convert("F"), "TIFF"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
def test_bytes_changed_at_random_are_decoded_or_refused(sample: Callable[[], bytes]) -> None:
    chance = random.Random(20)
    intact = sample()
    for _ in range(400):
        damaged = bytearray(intact)
        for _ in range(chance.choice([1, 2, 5])):
            # Most of what can go wrong is in the headers, which come first or, in TIFF, last.
            place = chance.choice([chance.randrange(100), chance.randrange(len(intact)), -chance.randrange(1, 200)])
            damaged[place % len(damaged)] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        try:
            assert decode_rgb(bytes(damaged), max_pixels=100_000).mode == "RGB"
        except ImageDecodeError:
            continue


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
def test_a_file_that_is_cut_anywhere_is_decoded_or_refused(sample: Callable[[], bytes]) -> None:
    intact = sample()
    for length in [*range(min(len(intact), 150)), *range(150, len(intact), 37)]:
        try:
            assert decoded(intact[:length]).size == (40, 30)
        except ImageDecodeError:
            continue


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "png", "webp", "gif", "bmp", "tiff", "lzw tiff"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_file_that_is_cut_among_its_pixels_is_refused(name: str, share: float) -> None:
    intact = SAMPLES[name]()
    with pytest.raises(ImageDecodeError):
        decoded(intact[: int(len(intact) * share)])


# Boxes


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
