"""BMP: a header, a palette, and rows of pixels."""

from __future__ import annotations

from embeddings.errors import ImageDecodeError
from embeddings.images.containers.bare_file import BareFile

_RUN_LENGTHS = (1, 2)  # RLE8, RLE4
_CORE_HEADER_BYTES = 12  # of OS/2, which states no compression


def bare_bmp(data: bytes) -> BareFile:
    """Return the file unchanged, because it contains nothing else.

    Raises:
        ImageDecodeError: the pixels are run-length encoded.
    """
    header_bytes, compression = _little(data[14:18]), _little(data[30:34])
    if header_bytes > _CORE_HEADER_BYTES and compression in _RUN_LENGTHS:
        raise ImageDecodeError("The image is a BMP in run-length encoding: save it without compression, or as PNG.")
    return BareFile(data)


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
