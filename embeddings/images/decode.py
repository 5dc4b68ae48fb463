"""Turn downloaded bytes into RGB pixels, and a bounding box into the crop of a logo.

The one thing to know: bytes and boxes come from strangers, so every size is compared with the caller's limit before
memory is taken for it, and whatever a file or a box does to Pillow leaves here as an `ImageError`. Pillow's own,
process-wide limit (`Image.MAX_IMAGE_PIXELS`) is neither relied on nor changed; TIFF, GIF and WebP are held to it too.

A bounding box is `(y_min, x_min, y_max, x_max)`, in fractions of the height and width of the image as it is stored in
its file: an orientation in its metadata is not applied. Of an animation, the first frame is the image.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from embeddings.errors import BoundingBoxError, ImageDecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The formats that are read.

Each states its size before its pixels and is decoded by compiled code in this process. That leaves out PostScript (runs
a program), AVIF and ICO (the pixels inside may be far more than the size they state: an AVIF of 1 kB that stated
10 x 10 pixels took 1.3 GB), and formats that Pillow decodes in Python, such as PPM.
"""

BoundingBox = tuple[float, float, float, float]

_MAX_SCANS = 100
"""Passes over an image of the largest allowed size that a progressive JPEG may ask for; encoders write about ten.

A scan of a few bytes costs as much time as any other (see "Two Issues with the JPEG Standard", libjpeg-turbo.org).
"""

_FULL_SCALES = {"I": (255.0, 65535.0), "F": (1.0, 255.0, 65535.0)}
_SIXTEEN_BITS = (65535.0,)

_SLICE = 2**20

_STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA"}

# The tag TileWidth (322) with one value, in either byte order, of TIFF or BigTIFF.
_TILED_TIFF = re.compile(rb"\x42\x01.\x00\x01\x00\x00\x00|\x01\x42\x00.(?:\x00{4})?\x00\x00\x00\x01", re.DOTALL)

_UNTURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def decode_rgb(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file to an RGB image of the same height and width.

    Args:
        data: the file, in one of `FORMATS`.
        max_pixels: the largest height times width that is decoded.

    Raises:
        ImageDecodeError: no image, a damaged or truncated one, or one of more than `max_pixels` pixels.
    """
    return read_pixels(open_image(data, max_pixels=max_pixels))


def open_image(data: bytes, *, max_pixels: int) -> ImageFile:
    """Read the header of an image file, and refuse what `decode_rgb` refuses without decoding it."""
    with _decode_errors():
        return _open(data, max_pixels)


def read_pixels(image: ImageFile, *, shrink: int = 1) -> Image.Image:
    """Decode an opened file, once, to an RGB image.

    Args:
        image: as `open_image` gave it.
        shrink: by how much to divide the height and width of a JPEG, rounded up: 1, 2, 4 or 8. Other formats keep
            theirs.

    Raises:
        ImageDecodeError: a damaged or truncated image.
    """
    with _decode_errors(), image:
        if shrink > 1:
            image.draft(None, (image.width // shrink, image.height // shrink))
        return to_rgb(_load_unturned(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any Pillow mode as an RGB image; one that is RGB already is returned as it is.

    Modes of 8 bits or fewer become what Pillow's `convert("RGB")` makes of them: palettes are looked up, transparency
    is dropped. Deeper ones are grey, and Pillow would clip them to white; here their full scale becomes 0 to 255. For
    16-bit modes that scale is 65,535. For 32-bit integers and floats, whose files do not state one, it is the smallest
    of 1 (floats only), 255 and 65,535 that holds every pixel; if none does, or one is negative, the darkest pixel
    becomes black and the brightest white. In floats, infinities are beyond the extremes and NaN is black.
    """
    if image.mode == "RGB":
        return image  # Pillow would copy it, 3 bytes a pixel
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_to_eight_bits(np.asarray(image), _FULL_SCALES.get(image.mode, _SIXTEEN_BITS)))
    elif image.mode in _STRAIGHT_ALPHA:
        image = image.convert(_STRAIGHT_ALPHA[image.mode])
    # Pillow warns when it drops transparency that a palette image declares.
    image.info.pop("transparency", None)
    return image.convert("RGB")


def check_box(box: BoundingBox, *, logo_id: int | None) -> None:
    """Refuse a box that no image can make sense of: not finite, empty, inverted, or beside the image.

    Args:
        box: of a logo.
        logo_id: for the message; `None` if the logo has no id.

    Raises:
        BoundingBoxError: names the logo and what to change.
    """
    y_min, x_min, y_max, x_max = box
    if not all(-np.inf < edge < np.inf for edge in box):
        raise BoundingBoxError(f"The bounding box{_of(logo_id)} is not finite: give it four ordinary numbers.")
    if y_min >= y_max or x_min >= x_max:
        raise BoundingBoxError(
            f"The bounding box{_of(logo_id)} is empty or inverted: "
            "give it as y_min, x_min, y_max, x_max, each minimum below its maximum."
        )
    if y_max <= 0 or x_max <= 0 or y_min >= 1 or x_min >= 1:
        raise _no_pixel(logo_id)


def crop_logo(image: Image.Image, box: BoundingBox, *, logo_id: int | None, max_pixels: int) -> Image.Image:
    """Cut a logo out of an RGB image; what the box holds beyond the image is black.

    Edges fall on the nearest pixel border, halves on the even one, as in Pillow's `Image.crop`.

    Raises:
        BoundingBoxError: what `check_box` refuses, and a box that holds no pixel of this image or more than
            `max_pixels` pixels in all.
    """
    left, upper, right, lower = pixel_box(image.size, box, logo_id=logo_id, max_pixels=max_pixels)
    # Image.crop would apply Pillow's process-wide limit as well.
    crop = Image.new("RGB", (right - left, lower - upper))
    crop.paste(image, (-left, -upper))
    return crop


def pixel_box(
    size: tuple[int, int], box: BoundingBox, *, logo_id: int | None, max_pixels: int
) -> tuple[int, int, int, int]:
    """Return what `crop_logo` cuts out of an image of this width and height: left, upper, right and lower border.

    Raises:
        BoundingBoxError: as for `crop_logo`.
    """
    check_box(box, logo_id=logo_id)
    y_min, x_min, y_max, x_max = box
    width, height = size
    # A box that reaches this far and still touches the image is refused for its size.
    reach = max_pixels + width + height
    left, right = (_to_pixel(edge, width, reach) for edge in (x_min, x_max))
    upper, lower = (_to_pixel(edge, height, reach) for edge in (y_min, y_max))
    if min(right, width) <= max(left, 0) or min(lower, height) <= max(upper, 0):
        raise _no_pixel(logo_id)
    if (right - left) * (lower - upper) > max_pixels:
        raise BoundingBoxError(
            f"The bounding box{_of(logo_id)} selects more than {max_pixels:,} pixels: "
            "give its edges as fractions of height and width, from 0 to 1."
        )
    return left, upper, right, lower


@contextmanager
def _decode_errors() -> Iterator[None]:
    """Turn whatever a file does to Pillow into an `ImageDecodeError`."""
    try:
        yield
    except ImageDecodeError:
        raise
    except Exception as error:
        raise ImageDecodeError(f"The image cannot be decoded: {error}") from error


def _open(data: bytes, max_pixels: int) -> ImageFile:
    """Open a file without decoding it, and without the limit that `Image.open` applies."""
    Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept and accept(data[:16]):
            break
    else:
        raise ImageDecodeError(f"The data is no image of a format that is read: {', '.join(FORMATS)}.")
    if name == "WEBP":
        # Pillow's reader takes memory for the pixels when it is opened.
        _check_size(*_webp_size(data), max_pixels)
    if name == "TIFF" and _TILED_TIFF.search(data):
        # libtiff takes memory for a whole tile, whatever the size of the image. The bytes are searched because libtiff
        # and Pillow do not read every tag list alike.
        raise ImageDecodeError("The image is a tiled TIFF: save it in strips, or in another format.")
    image = factory(io.BytesIO(data), "")
    _check_size(*image.size, max_pixels)
    if name == "JPEG" and data.count(b"\xff\xda") * image.width * image.height > _MAX_SCANS * max_pixels:
        raise ImageDecodeError("The image is a JPEG of far too many scans: save it again.")
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageDecodeError(
            f"The image is too large: it has {width} x {height} pixels, and {max_pixels:,} pixels are read at most."
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read the width and height of a WebP canvas from the first chunk of its file (RFC 9649, sections 2.5 to 2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return _little(data[24:27]) + 1, _little(data[27:30]) + 1
    if chunk == b"VP8L":
        bits = _little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _load_unturned(image: ImageFile) -> Image.Image:
    """Decode the pixels; take back the turn that Pillow gives to TIFF, alone of all formats, while decoding."""
    orientation = image.getexif().get(ExifTags.Base.Orientation) if image.format == "TIFF" else None
    image.load()
    return image.transpose(_UNTURNED[orientation]) if orientation in _UNTURNED else image


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


def _to_pixel(fraction: float, length: int, reach: int) -> int:
    return round(min(max(fraction * length, -reach), reach))


def _of(logo_id: int | None) -> str:
    return "" if logo_id is None else f" of logo {logo_id}"


def _no_pixel(logo_id: int | None) -> BoundingBoxError:
    return BoundingBoxError(
        f"The bounding box{_of(logo_id)} holds no pixel of the image: "
        "give its edges as fractions of height and width, from 0 to 1."
    )
