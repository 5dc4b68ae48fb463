"""What the pixels of a file do not need cannot refuse it, what they need must be whole, and no file takes long."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from embeddings.errors import ImageDecodeError
from embeddings.images.containers.bare_file import MOST_PARTS
from embeddings.images.decode import FORMATS, decode_rgb, open_image
from tests.embeddings.images.pictures import MAX_PIXELS, decoded, encoded, picture

VIDEO = b"\0\0\0\x18ftypmp42" + random.Random(1).randbytes(500_000)
JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
}


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    return encoded(picture(90, 120).convert(mode), "JPEG", quality=95, **options)


def oriented(image_format: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(picture(), image_format, exif=exif, **options)


def chunk(kind: bytes, content: bytes, *, damage: int = 0) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ damage)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


# What follows the image


@pytest.mark.parametrize("trailer", [VIDEO, bytes(3_000_000), b"\xff" * 5000, b";", b"\xff\xda" * 5000], ids=range(5))
@pytest.mark.parametrize("image_format", FORMATS)
def test_what_follows_the_image_does_not_count(image_format: str, trailer: bytes) -> None:
    data = encoded(picture(), image_format)
    assert decoded(data + trailer).tobytes() == decoded(data).tobytes()


def test_scans_are_not_counted_in_a_video_behind_the_photo_or_in_a_preview() -> None:
    data = jpeg()
    preview = segment(0xE5, b"\xff\xda" * 10_000)
    for more in (data + b"\xff\xda" * 100_000, data[:2] + preview * 10 + data[2:]):
        assert decode_rgb(more, max_pixels=90 * 120).tobytes() == decoded(data).tobytes()


# The end of a JPEG


def endings(whole: bytes) -> Iterator[bytes]:
    assert whole.endswith(b"\xff\xd9")
    yield whole[:-1]
    yield whole[:-2]
    yield whole[:-2] + bytes(512)
    yield whole[:-2] + b"\xff" * 512
    yield whole[:-1] + bytes(7)


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
def test_a_jpeg_without_its_end_marker_has_all_its_pixels(options: dict[str, Any]) -> None:
    whole = jpeg(**options)
    for ending in endings(whole):
        assert decoded(ending).tobytes() == decoded(whole).tobytes()


@pytest.mark.parametrize("filling", [b"", bytes(1), bytes(5000), b"\xff" * 300], ids=["nothing", "0", "zeros", "ff"])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
def test_a_jpeg_that_is_cut_among_its_pixels_is_refused_whatever_fills_the_file(
    options: dict[str, Any], filling: bytes
) -> None:
    whole = jpeg(**options)
    for cut in [*range(5, 60, 5), *range(60, len(whole), 331)]:
        with pytest.raises(ImageDecodeError):
            decoded(whole[:-cut] + filling)


def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused() -> None:
    whole = jpeg(progressive=True)
    place = whole.index(b"\xff\xda") + 2
    while (place := whole.find(b"\xff\xda", place) + 1) > 0:
        with pytest.raises(ImageDecodeError, match=r"cut before its last scan|cut among"):
            decoded(whole[: place - 1])


# Metadata


@pytest.mark.parametrize(
    "kind", [b"pHYs", b"tEXt", b"eXIf", b"gAMA", b"tIME", b"sRGB", b"iCCP", b"iTXt", b"cHRM", b"acTL"]
)
@pytest.mark.parametrize("content", [b"", b"a", b"key\0\0" + bytes(40)], ids=["empty", "short", "odd"])
def test_a_damaged_chunk_that_the_pixels_do_not_need_is_passed_over(kind: bytes, content: bytes) -> None:
    plain = encoded(picture(), "PNG")
    for damage in (0, 1):
        assert decoded(plain[:33] + chunk(kind, content, damage=damage) + plain[33:]).tobytes() == picture().tobytes()


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT"])
def test_a_damaged_chunk_that_the_pixels_need_refuses_the_png(kind: bytes) -> None:
    data = bytearray(encoded(picture().convert("P"), "PNG", transparency=bytes([5, 6])))
    place = data.index(kind)
    length = int.from_bytes(data[place - 4 : place])
    data[place + 4 + length] ^= 1
    with pytest.raises(ImageDecodeError, match=f"PNG whose {kind.decode()} chunk is cut or damaged"):
        decoded(bytes(data))


def test_a_png_without_its_end_is_whole() -> None:
    data = encoded(picture(), "PNG")
    for cut in range(1, 13):
        assert decoded(data[:-cut]).tobytes() == picture().tobytes()
    with pytest.raises(ImageDecodeError, match="IDAT chunk is cut"):
        decoded(data[:-13])


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_text_that_unpacks_to_more_than_the_image_is_not_unpacked(kind: bytes) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(80)) + packer.flush()
    text = chunk(kind, b"key\0\1\0\0\0" + bomb if kind == b"iTXt" else b"key\0\0" + bomb)
    plain = encoded(picture(), "PNG")
    tracemalloc.start()
    try:
        assert decoded(plain[:33] + text * 30 + plain[33:]).tobytes() == picture().tobytes()
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("marker", [*range(0xE1, 0xEE), 0xEF, 0xFE])
@pytest.mark.parametrize(
    "content", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"MPF\0MM\0*", b"ICC_PROFILE\0"]
)
def test_a_segment_of_a_jpeg_that_the_pixels_do_not_need_is_passed_over(marker: int, content: bytes) -> None:
    data = jpeg()
    assert decoded(data[:2] + segment(marker, content) * 3 + data[2:]).tobytes() == decoded(data).tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("keep_rgb", [False, True])
def test_what_says_which_colours_a_jpeg_has_is_kept(mode: str, keep_rgb: bool) -> None:
    data = jpeg(mode, keep_rgb=keep_rgb, subsampling=0)
    expected = np.asarray(picture(90, 120).convert(mode).convert("RGB"), int)
    assert np.abs(np.asarray(decoded(data), int) - expected).mean() < 4


@pytest.mark.parametrize(("image_format", "options"), [("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_metadata_that_are_cut_or_odd_do_not_refuse_the_image(image_format: str, options: dict[str, Any]) -> None:
    plain = decoded(encoded(picture(), image_format, **options)).tobytes()
    for metadata in ({"icc_profile": b"no profile"}, {"exif": b"Exif\0\0no exif"}, {"xmp": b"<x:xmp"}):
        if image_format == "TIFF":
            metadata.pop("exif", None)
        data = encoded(picture(), image_format, **options, **metadata)
        assert decoded(data).tobytes() == plain
        if image_format == "WEBP" and "icc_profile" not in metadata:  # it lies before the pixels
            assert decoded(data[:-5]).tobytes() == plain


def test_a_webp_is_cut_among_its_pixels_or_not() -> None:
    data = encoded(picture(), "WEBP", exif=b"Exif\0\0" + bytes(50))
    place = data.index(b"EXIF")
    assert decoded(data[:place]).tobytes() == decoded(data).tobytes()
    with pytest.raises(ImageDecodeError, match="cut among its pixels"):
        decoded(data[: place - 20])


@pytest.mark.parametrize("broken_tag", [282, 305, 34665, 34853, 330, 37724, 700])
def test_a_broken_tag_that_the_pixels_do_not_need_is_passed_over(broken_tag: int) -> None:
    data = bytearray(encoded(picture(), "TIFF", resolution=72, software="x" * 20, compression="tiff_lzw"))
    place = int.from_bytes(data[4:8], "little") + 2
    entries = [place + 12 * number for number in range(int.from_bytes(data[place - 2 : place], "little"))]
    victim = next(entry for entry in entries if int.from_bytes(data[entry : entry + 2], "little") == 305)
    data[victim : victim + 12] = struct.pack("<HHII", broken_tag, 13, 2**30, 2**31)
    assert decoded(bytes(data)).tobytes() == picture().tobytes()


def test_only_the_first_page_of_a_tiff_is_looked_at() -> None:
    data = bytearray(encoded(picture(), "TIFF", save_all=True, append_images=[picture()]))
    place = int.from_bytes(data[4:8], "little")
    next_page = place + 2 + 12 * int.from_bytes(data[place : place + 2], "little")
    data[next_page : next_page + 4] = struct.pack("<I", 2**31)
    assert decoded(bytes(data)).tobytes() == picture().tobytes()


def test_comments_and_extensions_of_a_gif_are_passed_over() -> None:
    data = encoded(picture(), "GIF")
    place = 13 + 3 * (2 << (data[10] & 7))
    for more in (b"!\xfe" + b"\xff" + b"x" * 255 + b"\0", b"!\xff\x0bNETSCAPE2.0\x01\x00\0", b"!\x01\0", b"\0" * 9):
        assert decoded(data[:place] + more * 50 + data[place:]).tobytes() == decoded(data).tobytes()


def test_a_gif_without_its_end_is_whole() -> None:
    data = encoded(picture(), "GIF")
    assert data.endswith(b"\0;")
    for cut in (1, 2):
        assert decoded(data[:-cut]).tobytes() == decoded(data).tobytes()


# Files that would keep an interpreter busy


@pytest.mark.parametrize("compression", [1, 2], ids=["RLE8", "RLE4"])
def test_a_bmp_of_run_lengths_is_refused_because_pillow_decodes_them_in_python(compression: int) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 9400, 9400, 1, 8 // compression, compression, 0, 0, 0, 0, 0)
    with pytest.raises(ImageDecodeError, match="run-length encoding: save it without compression"):
        decode_rgb(b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + header + bytes(2000), max_pixels=10**8)


def files_of_tiny_parts() -> dict[str, bytes]:
    count = MOST_PARTS + 10
    png, photo, gif = encoded(picture(), "PNG"), jpeg(), encoded(picture(), "GIF")
    after_palette = 13 + 3 * (2 << (gif[10] & 7))
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + bytes([39, 0, 0, 29, 0, 0])
    return {
        "PNG of texts": png[:33] + chunk(b"tEXt", b"") * count + png[33:],
        "PNG of pixels": png[:33] + chunk(b"IDAT", b"") * count + png[33:],
        "PNG of palettes": png[:33] + chunk(b"PLTE", b"abc") * count + png[33:],
        "JPEG of comments": photo[:2] + segment(0xFE, b"") * count + photo[2:],
        "JPEG of Exif": photo[:2] + segment(0xE1, b"Exif\0\0") * count + photo[2:],
        "GIF of extensions": gif[:after_palette] + b"!\xfe\0" * count + gif[after_palette:],
        "GIF of sub-blocks": gif[:after_palette] + b"!\xfe" + b"\1a" * count + b"\0" + gif[after_palette:],
        "WebP of chunks": b"RIFF\0\0\0\0WEBP" + canvas + b"junk\0\0\0\0" * count + encoded(picture(), "WEBP")[12:],
    }


FILES_OF_TINY_PARTS = files_of_tiny_parts()


@pytest.mark.parametrize("data", FILES_OF_TINY_PARTS.values(), ids=FILES_OF_TINY_PARTS.keys())
def test_a_file_of_more_parts_than_any_photo_has_is_refused_before_pillow_walks_it(data: bytes) -> None:
    with pytest.raises(ImageDecodeError, match="more than 131,072 parts"):
        decoded(data)


def test_a_jpeg_of_more_tables_than_any_photo_has_is_refused() -> None:
    data = jpeg()
    tables = segment(0xDB, bytes(65)) * 20_000
    with pytest.raises(ImageDecodeError, match="far too many tables or scans"):
        decoded(data[:2] + tables + data[2:])


def test_a_tiff_of_more_strips_than_rows_of_any_photo_is_refused() -> None:
    count = 2**16 + 1
    entries = [(256, 1), (257, count), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 8)]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, count if tag in (273, 279) else 1, value) for tag, value in entries
    )
    data = b"II*\0" + struct.pack("<I", 8 + 4 * count) + struct.pack("<I", 8) * count + directory + bytes(4)
    with pytest.raises(ImageDecodeError, match="too many parts"):
        decoded(data)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("image_format", "options"),
    [("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"big_tiff": True})],
)
def test_the_orientation_is_read_and_not_applied(image_format: str, options: dict[str, Any], orientation: int) -> None:
    opened = open_image(oriented(image_format, orientation, **options), max_pixels=MAX_PIXELS)
    assert (opened.orientation, opened.file.size) == (orientation, (40, 30))


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_image_that_names_no_orientation_is_upright(image_format: str) -> None:
    assert open_image(encoded(picture(), image_format), max_pixels=MAX_PIXELS).orientation == 1


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"XX*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08\0\x09",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",  # no such orientation
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\x00\0\x06",  # a LONG
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x02\0\x06\0\0",  # two
    ],
)
def test_exif_that_is_damaged_names_no_orientation(exif: bytes) -> None:
    data = jpeg()
    damaged = data[:2] + segment(0xE1, b"Exif\0\0" + exif) + data[2:]
    assert open_image(damaged, max_pixels=MAX_PIXELS).orientation == 1
    assert decoded(damaged).tobytes() == decoded(data).tobytes()
