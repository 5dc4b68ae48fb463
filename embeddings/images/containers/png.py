"""PNG (third edition, W3C 2025): a sequence of chunks, each with a checksum."""

from __future__ import annotations

import struct
import zlib

from embeddings.errors import ImageDecodeError
from embeddings.images.containers.bare_file import MOST_PARTS, UPRIGHT, BareFile, too_many_parts
from embeddings.images.containers.orientation import orientation_in

_SIGNATURE_BYTES = 8
_PIXELS = b"IDAT"
_BEFORE_PIXELS = (b"IHDR", b"PLTE", b"tRNS")
_HEAD = struct.Struct(">I4s")
_END = b"\0\0\0\0IEND\xaeB`\x82"


def bare_png(data: bytes) -> BareFile:
    """Keep the header, the palette, the transparency and the pixels, the latter in one chunk.

    Of an animation, the first image is kept; of a chunk that may occur only once, the first.

    Raises:
        ImageDecodeError: one of these is truncated, or does not match its checksum.
    """
    head, pixels, orientation = dict[bytes, bytes](), list[bytes](), UPRIGHT
    place = _SIGNATURE_BYTES
    for _ in range(MOST_PARTS):
        if place + _HEAD.size > len(data):
            break
        length, kind = _HEAD.unpack_from(data, place)
        if pixels and kind != _PIXELS:
            break
        begin, place = place + _HEAD.size, place + _HEAD.size + length + 4
        if kind == _PIXELS or (kind in _BEFORE_PIXELS and kind not in head):
            content = data[begin : begin + length]
            if zlib.crc32(content, zlib.crc32(kind)).to_bytes(4) != data[begin + length : place]:
                raise ImageDecodeError(f"The image is a PNG whose {kind.decode()} chunk is cut or damaged.")
            if kind == _PIXELS:
                pixels.append(content)
            else:
                head[kind] = content
        elif kind == b"eXIf" and orientation == UPRIGHT:
            orientation = orientation_in(data[begin : begin + length])
    else:
        raise too_many_parts("PNG")
    if not pixels:
        raise ImageDecodeError("The image is a PNG that is cut before its pixels.")
    chunks = [_chunk(kind, content) for kind, content in [*head.items(), (_PIXELS, b"".join(pixels))]]
    return BareFile(b"".join([data[:_SIGNATURE_BYTES], *chunks, _END]), orientation)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join((_HEAD.pack(len(content), kind), content, zlib.crc32(content, zlib.crc32(kind)).to_bytes(4)))
