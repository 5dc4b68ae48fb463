"""Hostile images: whatever their bytes, they become RGB pixels within the limits, or an `ImageError`."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from embeddings.errors import ImageError
from embeddings.images.decode import FORMATS, crop_logo, decode_rgb
from embeddings.images.photo import Photo
from embeddings.model.preprocessing import LITE0_PREPROCESSING
from torture.fuzz_case import Case
from torture.fuzz_child import Limits
from torture.fuzz_mutation import mutate, near_content

_MAX_PIXELS = 1_000_000
_SEEN_AS = replace(LITE0_PREPROCESSING, size=4)  # small, so that logos of these images are cut from reduced decodings
_PNG_SIGNATURE = 8  # bytes
_FRAMES = {"save_all": True, "duration": 50}
_ENCODINGS: dict[str, list[dict[str, Any]]] = {
    "JPEG": [{}, {"progressive": True}, {"optimize": True, "subsampling": 0}, {"restart_marker_rows": 1}],
    "PNG": [{}, {"compress_level": 0}, {"optimize": True}, {"bits": 2}, {**_FRAMES, "frames": True}],
    "WEBP": [{}, {"lossless": True}, {"method": 6, "quality": 10}, {**_FRAMES, "frames": True}],
    "GIF": [{}, {"interlace": 0}, {**_FRAMES, "frames": True}],
    "BMP": [{}],
    "TIFF": [
        *[{"compression": name} for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd")],
        *[{"compression": "group3", "mode": "1"}, {"compression": "group4", "mode": "1"}],
        *[{"compression": "jpeg", "mode": mode} for mode in ("L", "RGB", "CMYK")],
        {"big_tiff": True},
        {**_FRAMES, "frames": True},
    ],
}


class ImageFiles:
    """Images of all supported formats, in all modes that Pillow can write."""

    limits = Limits(seconds=10, memory=128 * 2**20)

    def __init__(self, _: Path) -> None:
        self.samples = [*FORMATS]
        self._encoded = {name: _encode(name) for name in FORMATS}

    def spoil(self, number: int, sample: str, chance: random.Random) -> Case:
        """Change an image of the format; the checksums of a PNG are often corrected afterwards."""
        content = chance.choice(self._encoded[sample])
        spots = [*near_content(content[:200]), *range(max(0, len(content) - 200), len(content))]
        if chance.random() < 0.5:
            spots = [*range(len(content))]
        spoilt, changes = mutate(content, spots, chance)
        if sample == "PNG" and chance.random() < 0.7:
            spoilt = _with_right_checksums(spoilt)
        return Case(number, sample, changes, {"image": spoilt})

    def attempt(self, case: Case, directory: Path) -> list[str]:
        """Decode the image, and cut logos out of it."""
        warnings.simplefilter("ignore")
        wrong = []
        with suppress(ImageError):
            content = (directory / "image").read_bytes()
            image = decode_rgb(content, max_pixels=_MAX_PIXELS)
            photo = Photo(content, preprocessing=_SEEN_AS, max_pixels=_MAX_PIXELS)
            if image.mode != "RGB" or image.width * image.height > _MAX_PIXELS:
                wrong.append(f"became {image}")
            chance = random.Random(case.number)
            for _ in range(4):
                box = [chance.choice((0.0, 1.0, chance.uniform(-0.5, 1.5), chance.gauss(0, 1e9))) for _ in range(4)]
                with suppress(ImageError):
                    crop = crop_logo(image, (box[0], box[1], box[2], box[3]), logo_id=1, max_pixels=_MAX_PIXELS)
                    cuts = crop, photo.crop((box[0], box[1], box[2], box[3]), logo_id=1)
                    wrong += [
                        f"{box} was cut to {cut}"
                        for cut in cuts
                        if cut.mode != "RGB" or not 0 < cut.width * cut.height <= _MAX_PIXELS
                    ]
        return wrong


def _encode(image_format: str) -> list[bytes]:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    images = []
    for mode in Image.MODES:
        image = _picture(mode)
        for options in _ENCODINGS[image_format]:
            options = {"mode": mode, "exif": exif, **options}
            if options.pop("frames", False):
                options["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
            file = io.BytesIO()
            # Combinations that Pillow cannot write are skipped.
            with suppress(OSError, ValueError, KeyError, RuntimeError, SystemError, struct.error):
                if options.pop("mode") == mode:
                    image.save(file, image_format, **options)
                    images.append(file.getvalue())
    return images


def _picture(mode: str) -> Image.Image:
    y, x = np.mgrid[:23, :31]
    image = Image.fromarray(np.stack([8 * x, 11 * y, 4 * (x + y)], axis=-1).astype(np.uint8))
    if mode.startswith("I;16"):
        return Image.fromarray((300 * (x + y)).astype(np.uint16)).convert(mode)
    straight = {"PA": "RGBA", "LA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(mode)
    return (image if straight is None else image.convert(straight)).convert(mode)


def _with_right_checksums(png: bytes) -> bytes:
    """Correct the CRC-32 of each chunk, as far as the lengths of the chunks can be followed."""
    mended = bytearray(png)
    begin = _PNG_SIGNATURE
    while begin + 12 <= len(mended):
        end = begin + 8 + int.from_bytes(mended[begin : begin + 4])
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[begin + 4 : end]).to_bytes(4)
        begin = end + 4
    return bytes(mended)
