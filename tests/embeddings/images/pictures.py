"""Small pictures, and files of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embeddings.images.decode import decode_rgb

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
