"""How viewers rotate or flip an image: the orientation in a block of Exif (CIPA DC-008, section 4.6.5, tag 274)."""

from __future__ import annotations

import struct

from embeddings.images.containers.bare_file import UPRIGHT

EXIF_PREFIX = b"Exif\0\0"

_TAG, _SHORT = 274, 3
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation_in(exif: bytes) -> int:
    """Return the orientation that a block of Exif states, 1 to 8; 1 if it states none or is damaged.

    Args:
        exif: a TIFF header and its directory, with or without the prefix that JPEG puts before it.
    """
    exif = exif.removeprefix(EXIF_PREFIX)
    order = _ORDERS.get(exif[:4])
    if order is None or len(exif) < 8:
        return UPRIGHT
    (directory,) = struct.unpack_from(f"{order}I", exif, 4)
    entries = exif[directory + 2 :]
    count = int.from_bytes(exif[directory : directory + 2], "little" if order == "<" else "big")
    entry = struct.Struct(f"{order}HHIHxx")
    for place in range(0, min(12 * count, len(entries) - 11), 12):
        tag, kind, values, value = entry.unpack_from(entries, place)
        if tag == _TAG:
            return orientation_of(value) if (kind, values) == (_SHORT, 1) else UPRIGHT
    return UPRIGHT


def orientation_of(value: int) -> int:
    """Return the value of the tag if it is an orientation, otherwise 1."""
    return value if 1 <= value <= 8 else UPRIGHT
