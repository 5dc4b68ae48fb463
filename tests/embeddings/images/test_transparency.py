"""What is transparent shows white, in every format and mode that can say so; hidden colours decide nothing."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embeddings.images.decode import decode_rgb
from embeddings.images.rgb import to_rgb
from tests.embeddings.images.pictures import decoded, encoded, picture

WHITE = (255, 255, 255)
BEHIND_WHITE = (0, 0, 16, 30)  # of the 40 x 30 picture


def half_transparent(hidden: str) -> Image.Image:
    """Return the picture with a hidden colour on its left, fully transparent."""
    image = picture().convert("RGBA")
    image.paste(Image.new("RGBA", (16, 30), (*Image.new("RGB", (1, 1), hidden).getpixel((0, 0)), 0)), BEHIND_WHITE)  # type: ignore[misc]
    return image


def as_seen() -> Image.Image:
    image = picture()
    image.paste("white", BEHIND_WHITE)
    return image


@pytest.mark.parametrize("hidden", ["black", "white", "red"])
@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("WEBP", {"lossless": True, "exact": True, "save_all": True, "append_images": [Image.new("RGBA", (40, 30))]}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_hidden_colours_do_not_count(image_format: str, options: dict[str, Any], hidden: str) -> None:
    data = encoded(half_transparent(hidden), image_format, **options)
    assert decoded(data).tobytes() == as_seen().tobytes()


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_black_ink_on_nothing_is_black_ink_on_white(mode: str, image_format: str) -> None:
    image = Image.new(mode, (9, 9), 0)
    image.paste((0, 255) if mode == "LA" else (0, 0, 0, 255), (3, 3, 6, 6))
    on_white = Image.new("RGB", (9, 9), "white")
    on_white.paste("black", (3, 3, 6, 6))
    options = {"lossless": True} if image_format == "WEBP" else {}
    assert decoded(encoded(image, image_format, **options)).tobytes() == on_white.tobytes()


@pytest.mark.parametrize("alpha", [0, 1, 100, 254, 255])
def test_what_is_half_transparent_is_mixed_with_white(alpha: int) -> None:
    image = picture().convert("RGBA")
    image.putalpha(alpha)
    mixed = (np.asarray(picture(), float) * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(np.asarray(decoded(encoded(image, "PNG")), float) - mixed).max() <= 1


@pytest.mark.parametrize(("mode", "straight"), [("La", "LA"), ("RGBa", "RGBA"), ("PA", "RGBA")])
def test_other_kinds_of_alpha_are_mixed_alike(mode: str, straight: str) -> None:
    image = picture().convert("RGBA").convert(straight)
    image.putalpha(128)
    kind = image.convert(mode)
    if mode == "PA":
        image = kind.convert("RGBA")  # of fewer colours
    assert np.abs(np.asarray(to_rgb(kind), int) - np.asarray(to_rgb(image), int)).max() <= 2
    assert np.asarray(to_rgb(kind)).mean() > np.asarray(picture()).mean() + 50


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_entry_of_a_palette_is_white(image_format: str) -> None:
    image = Image.new("P", (9, 9), 0)
    image.putpalette([0, 0, 0, 200, 30, 30, 0, 0, 0])
    image.paste(1, (0, 0, 4, 9))
    image.paste(2, (4, 0, 6, 9))
    seen = np.asarray(decoded(encoded(image, image_format, transparency=0)))
    assert seen[0, 8].tolist() == [255, 255, 255]
    assert seen[0, 0].tolist() == [200, 30, 30]
    assert seen[0, 5].tolist() == [0, 0, 0]


def test_a_palette_may_be_transparent_in_part() -> None:
    image = Image.new("P", (3, 1), 0)
    image.putpalette([0, 0, 0] * 3)
    image.putdata([0, 1, 2])
    seen = np.asarray(decoded(encoded(image, "PNG", transparency=bytes([0, 55, 255]))))
    assert seen[0, :, 0].tolist() == [255, 200, 0]


def png(depth: int, colour_type: int, samples: NDArray[Any], transparent: tuple[int, ...]) -> bytes:
    """Make a PNG of one row of samples, `(width, channels)`, with a transparent colour."""
    width, channels = samples.shape
    bits = "".join(f"{value:0{depth}b}" for value in samples.ravel().tolist())
    row = int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes(-(-width * channels * depth // 8))
    header = struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0)
    transparency = struct.pack(f">{len(transparent)}H", *transparent)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in (
        (b"IHDR", header),
        (b"tRNS", transparency),
        (b"IDAT", zlib.compress(b"\0" + row)),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_stated_in_its_depth(depth: int) -> None:
    most = 2**depth - 1
    hidden = most // 3
    greys = np.array([[0], [hidden], [most], [min(hidden + 1, most)]])
    seen = np.asarray(decoded(png(depth, 0, greys, (hidden,))))[0, :, 0].tolist()
    shown = [255 if grey == hidden else round(grey * 255 / most) for grey in greys.ravel().tolist()]
    assert seen == shown


@pytest.mark.parametrize(
    "stated", [(7, 8, 9), (0x0107, 0xFF08, 0x0109)], ids=["as it is", "with bits beyond its depth"]
)
def test_the_transparent_colour_of_a_png_is_white(stated: tuple[int, int, int]) -> None:
    seen = np.asarray(decoded(png(8, 2, np.array([[7, 8, 9], [7, 8, 8], [0, 0, 0]]), stated)))
    assert seen.tolist() == [[[255, 255, 255], [7, 8, 8], [0, 0, 0]]]


def test_the_transparent_colour_of_sixteen_bits_hides_no_other() -> None:
    colours = np.array([[0x1234, 0x5678, 0x9ABC], [0x1234, 0x5678, 0x9ABD], [0x1235, 0x5678, 0x9ABC], [0, 0, 0]])
    seen = np.asarray(decoded(png(16, 2, colours, (0x1234, 0x5678, 0x9ABC))))
    assert seen.tolist() == [[[255, 255, 255], [0x12, 0x56, 0x9A], [0x12, 0x56, 0x9A], [0, 0, 0]]]


def test_sixteen_bit_colours_are_hidden_in_every_row() -> None:
    deep = np.full((200, 3), 0x1111)
    deep[::2] = 0x2222
    data = png(16, 2, deep, (0x1111, 0x1111, 0x1111))
    assert np.asarray(decoded(data))[0, :, 0].tolist() == [0x22, 255] * 100


def test_a_gif_shows_white_beside_its_first_frame() -> None:
    small = bytearray(encoded(Image.new("P", (4, 4), 1), "GIF"))
    small[6:10] = struct.pack("<HH", 10, 8)  # the screen
    seen = decoded(bytes(small))
    assert seen.size == (10, 8)
    assert seen.getpixel((9, 7)) == WHITE
    assert seen.getpixel((3, 3)) != WHITE


def bmp_with_alpha(alpha: int) -> bytes:
    """Make a BMP of one red pixel, whose header names a channel of alpha."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0) + masks + bytes(52)
    return b"BM" + struct.pack("<IHHI", 126, 0, 0, 122) + header + bytes([0, 0, 255, alpha])


@pytest.mark.parametrize(("alpha", "seen"), [(255, (255, 0, 0)), (51, (255, 204, 204)), (0, (255, 0, 0))])
def test_the_alpha_of_a_bmp_counts_unless_all_of_it_is_zero(alpha: int, seen: tuple[int, int, int]) -> None:
    assert decoded(bmp_with_alpha(alpha)).getpixel((0, 0)) == seen


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_an_opaque_image_is_as_it_was_without_alpha(mode: str) -> None:
    image = picture().convert("RGBA").convert(mode)
    assert to_rgb(image).tobytes() == image.convert("RGB").tobytes()


def test_transparency_takes_no_more_pixels_than_allowed() -> None:
    data = encoded(half_transparent("black"), "PNG")
    assert decode_rgb(data, max_pixels=1200).size == (40, 30)
