"""WebP (RFC 9649): chunks in a RIFF file."""

from __future__ import annotations

import struct

from embeddings.errors import ImageDecodeError
from embeddings.images.containers.bare_file import MOST_PARTS, UPRIGHT, BareFile, too_many_parts
from embeddings.images.containers.orientation import orientation_in

_FIRST_CHUNK = 12
_HEAD = struct.Struct("<4sI")
_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")
_BEFORE_PIXELS = (b"VP8X", b"ALPH", b"ANIM")
_FLAGS = 0b00010010  # of VP8X: alpha, animation


def bare_webp(data: bytes) -> BareFile:
    """Keep the pixels and the chunks before them that they need. Of an animation, the first frame is kept.

    Raises:
        ImageDecodeError: one of these is truncated, or there are no pixels.
    """
    kept, has_pixels, orientation = bytearray(), False, UPRIGHT
    place = _FIRST_CHUNK
    for _ in range(MOST_PARTS):
        if place + _HEAD.size > len(data):
            break
        kind, length = _HEAD.unpack_from(data, place)
        begin, end = place + _HEAD.size, place + _HEAD.size + length
        place = end + length % 2
        if not has_pixels and (kind in _PIXELS or kind in _BEFORE_PIXELS):
            content = data[begin:end]
            if len(content) < length:
                raise ImageDecodeError("The image is a WebP that is cut among its pixels.")
            if kind == b"VP8X":
                content = bytes([content[0] & _FLAGS]) + content[1:] if content else content
            kept += _HEAD.pack(kind, length) + content + bytes(length % 2)
            has_pixels = kind in _PIXELS
        elif kind == b"EXIF" and orientation == UPRIGHT:
            orientation = orientation_in(data[begin:end])
    else:
        if not has_pixels:
            raise too_many_parts("WebP")
    if not has_pixels:
        raise ImageDecodeError("The image is a WebP that is cut before its pixels.")
    return BareFile(b"RIFF" + struct.pack("<I", 4 + len(kept)) + b"WEBP" + bytes(kept), orientation)


def webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a WebP canvas from the first chunk of its file (RFC 9649, sections 2.5 to 2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return _little(data[24:27]) + 1, _little(data[27:30]) + 1
    if chunk == b"VP8L":
        bits = _little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
