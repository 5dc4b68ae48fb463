"""Turn downloaded bytes into RGB pixels, and a bounding box into the crop of a logo.

Files and boxes are untrusted, so every size is compared with the caller's limit before memory is allocated for it, and
any error that a file or a box causes in Pillow is raised as an `ImageError`. Pillow's own,
process-wide limit (`Image.MAX_IMAGE_PIXELS`) is neither relied on nor changed; Pillow still applies it to TIFF, GIF and
WebP. Pillow reads only the parts of a file that its pixels need: `containers/bare_file.py` says which.

A bounding box is `(y_min, x_min, y_max, x_max)`, in fractions of the height and width of the image as it is stored in
its file: an orientation in its metadata is not applied. Of an animation, the first frame is the image.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from embeddings.errors import BoundingBoxError, ImageDecodeError
from embeddings.images.containers.bare_file import BareFile
from embeddings.images.containers.bmp import bare_bmp
from embeddings.images.containers.gif import bare_gif
from embeddings.images.containers.jpeg import bare_jpeg
from embeddings.images.containers.png import bare_png
from embeddings.images.containers.tiff import bare_tiff
from embeddings.images.containers.webp import bare_webp, webp_size
from embeddings.images.rgb import hide_transparent_colour, on_white, to_rgb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.ImageFile import ImageFile

_BARE: dict[str, Callable[[bytes], BareFile]] = {
    "JPEG": bare_jpeg,
    "PNG": bare_png,
    "WEBP": bare_webp,
    "GIF": bare_gif,
    "BMP": bare_bmp,
    "TIFF": bare_tiff,
}
FORMATS = tuple(_BARE)
"""The formats that are read.

Each states its size before its pixels and is decoded by compiled code in this process. That leaves out PostScript (runs
a program), AVIF and ICO (the pixels inside may be far more than the size they state: an AVIF of 1 kB that stated
10 x 10 pixels took 1.3 GB), and formats that Pillow decodes in Python, such as PPM.
"""

BoundingBox = tuple[float, float, float, float]

_MAX_SCANS = 100
"""Limit on the passes of a progressive JPEG over an image of the largest allowed size; encoders write about ten.

A scan of a few bytes costs as much time as any other (see "Two Issues with the JPEG Standard", libjpeg-turbo.org).
"""

_BAND = 64  # rows


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image whose header was read.

    Attributes:
        file: for one call of `read_pixels`.
        data: the parts of the file that its pixels need, to open it again.
        orientation: how viewers rotate or flip the pixels: Exif's value, 1 to 8; 1 if the file states none.
    """

    file: ImageFile
    data: bytes
    orientation: int


def decode_rgb(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file to an RGB image of the same height and width.

    Args:
        data: the file, in one of `FORMATS`.
        max_pixels: the largest height times width that is decoded.

    Raises:
        ImageDecodeError: the data is not an image, is damaged or truncated, or has more than `max_pixels` pixels.
    """
    return read_pixels(open_image(data, max_pixels=max_pixels).file)


def open_image(data: bytes, *, max_pixels: int) -> OpenedImage:
    """Read the header of an image file, and refuse what `decode_rgb` refuses without decoding it.

    A JPEG without an end marker is decoded, to find out whether some of its pixels are missing.

    Raises:
        ImageDecodeError: as for `decode_rgb`.
    """
    with _decode_errors():
        return _open(data, max_pixels)


def read_pixels(image: ImageFile, *, shrink: int = 1) -> Image.Image:
    """Decode an opened file, once, to an RGB image.

    Args:
        image: from `open_image`.
        shrink: the number by which to divide the height and width of a JPEG, rounded up: 1, 2, 4 or 8. Images of
            other formats keep theirs.

    Raises:
        ImageDecodeError: the image is damaged or truncated.
    """
    with _decode_errors(), image:
        if shrink > 1:
            image.draft(None, (image.width // shrink, image.height // shrink))
        frame = image.tile[0][1] if image.format == "GIF" else None
        data = image.fp.getvalue() if isinstance(image, PngImageFile) and isinstance(image.fp, io.BytesIO) else b""
        image.load()
        if isinstance(image, PngImageFile):
            hide_transparent_colour(image, data)
        rgb = to_rgb(image)
        return rgb if frame is None else on_white(rgb, frame)


def check_box(box: BoundingBox, *, logo_id: int | None) -> None:
    """Refuse a box that is wrong for every image: not finite, empty, inverted, or outside the image.

    Args:
        box: the bounding box of a logo.
        logo_id: for the message; None if the logo has no id.

    Raises:
        BoundingBoxError: the message names the logo and what to change.
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
    """Cut a logo out of an RGB image; the part of the box outside the image becomes black.

    Edges fall on the nearest pixel border, halves on the even one, as in Pillow's `Image.crop`.

    Raises:
        BoundingBoxError: `check_box` refuses the box, or it contains no pixel of this image, or more than
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
    """Return the left, upper, right and lower border of `crop_logo`'s crop of an image of this width and height.

    Raises:
        BoundingBoxError: as for `crop_logo`.
    """
    check_box(box, logo_id=logo_id)
    y_min, x_min, y_max, x_max = box
    width, height = size
    # Any box that touches the image and extends further than this is too large anyway.
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
    """Raise any error that a file causes in Pillow as an `ImageDecodeError`."""
    try:
        yield
    except ImageDecodeError:
        raise
    except Exception as error:
        raise ImageDecodeError(f"The image cannot be decoded: {error}") from error


def _open(data: bytes, max_pixels: int) -> OpenedImage:
    """Open a file without decoding it, and without the limit that `Image.open` applies."""
    Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept and accept(data[:16]):
            break
    else:
        raise ImageDecodeError(f"The data is no image of a format that is read: {', '.join(FORMATS)}.")
    if name == "WEBP":
        # Pillow's reader allocates the memory for the pixels as soon as it is opened.
        _check_size(*webp_size(data), max_pixels)
    bare = _BARE[name](data)
    image = factory(io.BytesIO(bare.data), "")
    _check_size(*image.size, max_pixels)
    if bare.scans * image.width * image.height > _MAX_SCANS * max_pixels:
        raise ImageDecodeError("The image is a JPEG of far too many scans: save it again.")
    if bare.padded is not None and _digest(factory, bare.data) != _digest(factory, bare.padded):
        raise ImageDecodeError("The image is a JPEG that is cut among its pixels.")
    return OpenedImage(image, bare.data, bare.orientation)


def _digest(factory: Callable[..., ImageFile], data: bytes) -> bytes:
    """Decode an image and return a digest of its pixels, to compare two without holding both."""
    digest = hashlib.sha256()
    with factory(io.BytesIO(data), "") as image:
        image.load()
        for upper in range(0, image.height, _BAND):
            digest.update(image.crop((0, upper, image.width, min(upper + _BAND, image.height))).tobytes())
    return digest.digest()


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageDecodeError(
            f"The image is too large: it has {width} x {height} pixels, and {max_pixels:,} pixels are read at most."
        )


def _to_pixel(fraction: float, length: int, reach: int) -> int:
    return round(min(max(fraction * length, -reach), reach))


def _of(logo_id: int | None) -> str:
    return "" if logo_id is None else f" of logo {logo_id}"


def _no_pixel(logo_id: int | None) -> BoundingBoxError:
    return BoundingBoxError(
        f"The bounding box{_of(logo_id)} holds no pixel of the image: "
        "give its edges as fractions of height and width, from 0 to 1."
    )
