"""GIF (version 89a): a screen, then blocks; extensions and pixels are sequences of sub-blocks, each with its length."""

from __future__ import annotations

import re

from embeddings.errors import ImageDecodeError
from embeddings.images.containers.bare_file import MOST_PARTS, BareFile, too_many_parts

_SCREEN_BYTES = 13
_HAS_PALETTE = 0x80
_CONTROL = 0xF9  # of transparency
_BLOCK = re.compile(rb"[,!;]")


def bare_gif(data: bytes) -> BareFile:
    """Keep the screen, and the first frame with the control that precedes it. What follows the frame is never read.

    Raises:
        ImageDecodeError: there is no frame.
    """
    place = _SCREEN_BYTES
    if len(data) > 10 and data[10] & _HAS_PALETTE:
        place += 3 << (data[10] & 7) + 1
    head, control = data[:place], b""
    parts = MOST_PARTS
    while (found := _BLOCK.search(data, place)) is not None and found[0] != b";":
        place = found.start()
        if found[0] == b",":
            return BareFile(head + control + data[place:])
        end, parts = _end_of_blocks(data, place + 2, parts - 1)
        if data[place + 1 : place + 2] == bytes([_CONTROL]):
            control = data[place:end]
        place = end
    raise ImageDecodeError("The image is a GIF without a frame, or cut before it.")


def _end_of_blocks(data: bytes, place: int, parts: int) -> tuple[int, int]:
    """Return where a sequence of sub-blocks ends, and how many parts may still follow."""
    while parts >= 0:
        if place >= len(data) or not data[place]:
            return place + 1, parts
        place += data[place] + 1
        parts -= 1
    raise too_many_parts("GIF")
