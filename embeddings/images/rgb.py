"""Convert decoded pixels of any Pillow mode to RGB as people see them: transparent parts become white."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

_FULL_SCALES = {"I": (255.0, 65535.0), "F": (1.0, 255.0, 65535.0)}
_SIXTEEN_BITS = (65535.0,)

_SLICE = 2**20

_STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA"}

_BAND = 64  # rows
_PNG_DEPTH = 24  # where a PNG states how many bits a sample has


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any Pillow mode as an RGB image; an RGB image is returned unchanged.

    Wholly or partly transparent pixels are laid on white, whether an alpha channel, a palette with alpha or a colour
    declared transparent makes them so. A BMP whose every pixel is transparent is treated as one without alpha, as
    browsers do.

    Modes of 8 bits or fewer are converted by Pillow's `convert("RGB")`. Deeper ones are grey, and Pillow would clip
    them to white; here their full scale becomes 0 to 255. For 16-bit modes that scale is 65,535. For 32-bit
    integers and floats, whose files do not state one, it is the smallest of 1 (floats only), 255 and 65,535 that holds
    every pixel; if none does, or one is negative, the darkest pixel becomes black and the brightest white. In floats,
    infinities are beyond the extremes and NaN is black.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = np.asarray(image)
        grey = _to_eight_bits(pixels, _FULL_SCALES.get(image.mode, _SIXTEEN_BITS))
        if isinstance(hidden := image.info.get("transparency"), int):
            grey[pixels == hidden] = 255
        return Image.fromarray(grey).convert("RGB")
    if not image.has_transparency_data or _leaves_alpha_unused(image):
        return image if image.mode == "RGB" else image.convert("RGB")  # Pillow would copy it, 3 bytes a pixel
    if image.mode not in ("LA", "RGBA"):
        image = image.convert(_STRAIGHT_ALPHA.get(image.mode, "RGBA"))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def on_white(image: Image.Image, frame: tuple[int, int, int, int] | None) -> Image.Image:
    """Return an RGB image whose pixels outside the frame, `(left, upper, right, lower)`, are white."""
    if frame is None or frame == (0, 0, *image.size):
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image.crop(frame), frame)
    return white


def hide_transparent_colour(image: PngImageFile, data: bytes) -> None:
    """Make the colour that a PNG declares transparent white, or prepare the image so that `to_rgb` does.

    The file states the colour with as many bits as its samples have; further bits are ignored. Pillow compares it with
    pixels of 8 bits, so a grey is scaled as the pixels were. Of 16-bit colours Pillow keeps only the upper halves. The
    lower halves are decoded in a second pass, because other colours may have the same upper halves.

    Args:
        image: the decoded image.
        data: its file.
    """
    colour, depth = image.info.get("transparency"), data[_PNG_DEPTH]
    most = 2**depth - 1
    if image.mode == "L":
        if colour is not None:
            image.info["transparency"] = (colour & most) * 255 // most
    elif image.mode == "RGB" and colour is not None:
        if depth == 16:
            del image.info["transparency"]
            _whiten(image, _lower_halves(data), colour)
        else:
            image.info["transparency"] = tuple(value & most for value in colour)


def _lower_halves(data: bytes) -> PngImageFile:
    """Decode the lower 8 bits of 16-bit colours."""
    image = PngImageFile(io.BytesIO(data))
    image.tile = [image.tile[0]._replace(args="RGB;16L")]  # reads the other byte of big-endian samples
    image.load()
    return image


def _whiten(upper: PngImageFile, lower: PngImageFile, colour: tuple[int, int, int]) -> None:
    halves = [value >> 8 for value in colour], [value & 255 for value in colour]
    for top in range(0, upper.height, _BAND):
        band = 0, top, upper.width, min(top + _BAND, upper.height)
        parts = upper.crop(band), lower.crop(band)
        hidden = np.all([(np.asarray(part) == half).all(axis=2) for part, half in zip(parts, halves, strict=True)], 0)
        if hidden.any():
            upper.paste("white", band, Image.fromarray(hidden))


def _leaves_alpha_unused(image: Image.Image) -> bool:
    return image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def _to_eight_bits(pixels: np.ndarray, scales: tuple[float, ...]) -> NDArray[np.uint8]:
    """Scale grey `(height, width)` pixels of any depth to 0 to 255, by the rule that `to_rgb` states."""
    finite = pixels[np.isfinite(pixels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0 and high <= scales[-1]:
        low, high = 0.0, next(scale for scale in scales if high <= scale)
    step = 255 / ((high - low) or 1.0)
    grey = np.empty(pixels.shape, np.uint8)
    # In slices, because 64-bit floats of the whole image would take eight times its memory.
    for start in range(0, pixels.size, _SLICE):
        levels = (pixels.flat[start : start + _SLICE].astype(np.float64) - low) * step
        grey.flat[start : start + _SLICE] = np.rint(np.nan_to_num(levels, nan=0.0).clip(0, 255))
    return grey
