"""No file takes more memory or time than its limit allows: it is decoded or refused."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from embeddings.errors import ImageDecodeError
from embeddings.images.decode import decode_rgb
from tests.embeddings.images.pictures import decoded, encoded, picture


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
