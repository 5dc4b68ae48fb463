"""JPEG (ITU-T T.81): markers, most of them with a segment, and scans that end where the next marker begins."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from embeddings.errors import ImageDecodeError
from embeddings.images.containers.bare_file import MOST_PARTS, UPRIGHT, BareFile, too_many_parts
from embeddings.images.containers.orientation import EXIF_PREFIX, orientation_in

_SOI, _EOI, _SOS, _APP1, _LOSSLESS = 0xD8, 0xD9, 0xDA, 0xE1, 0xC3
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# APP0 (JFIF) and APP14 (Adobe) state the colour space.
_UNNEEDED = frozenset({*range(0xE0, 0xF0), 0xFE} - {0xE0, 0xEE})
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # TEM and RST0 to RST7 mean nothing between segments
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END = b"\xff\xd9"
_MOST_SEGMENT_BYTES = 2**20  # of those that are kept

_ENTROPY_AT_ITS_START = re.compile(rb"(?:\xff\x00){0,4}")
# Begins with the bits 1011: a decoder that lacks bits reads zeros, and the first codes of most tables are zeros.
_NOISE = b"\xb1" + bytes(1 + byte % 254 for byte in hashlib.shake_128(b"noise").digest(4096))  # no marker in it


def bare_jpeg(data: bytes) -> BareFile:
    """Keep the tables, the frame and the scans, up to the end marker; add one if there is none.

    Raises:
        ImageDecodeError: the file is truncated before its last scan, or has more tables than any photo needs.
    """
    kept, frame, scans = bytearray(data[:2]), b"", list[bytes]()
    segment_bytes, orientation, has_end, place = 0, UPRIGHT, False, 2
    for _ in range(MOST_PARTS):
        found = _MARKER.search(data, place)
        if found is None:
            break
        begin, marker = found.end(), data[found.end() - 1]
        if marker == _EOI:
            has_end = True
            break
        end = begin + (0 if marker == _SOI else int.from_bytes(data[begin : begin + 2]))
        if end > len(data):
            break
        place = end
        if marker == _APP1 and orientation == UPRIGHT and data.startswith(EXIF_PREFIX, begin + 2):
            orientation = orientation_in(data[begin + 2 : end])
        if marker in _UNNEEDED:
            continue
        kept += data[begin - 2 : end]
        segment_bytes += end - begin + 2
        if segment_bytes > _MOST_SEGMENT_BYTES:
            raise ImageDecodeError("The image is a JPEG of far too many tables or scans: save it again.")
        if marker == _SOS:
            scans.append(data[begin + 2 : end])
            end_of_scan = _END_OF_SCAN.search(data, end)
            place = len(data) if end_of_scan is None else end_of_scan.start()
            kept += data[end:place]
        elif marker in _FRAMES:
            frame = bytes([marker]) + data[begin + 2 : end]
    else:
        raise too_many_parts("JPEG")
    if has_end:
        return BareFile(bytes(kept + _END), orientation, scans=len(scans))
    if not _is_complete(frame, scans):
        raise ImageDecodeError("The image is a JPEG that is cut before its last scan.")
    kept = _without_filling(kept)
    return BareFile(bytes(kept + _END), orientation, padded=bytes(kept + _NOISE + _END), scans=len(scans))


def _without_filling(kept: bytearray) -> bytearray:
    """Remove fill bytes, half a marker, or the zeros of a preallocated file, but keep bytes that may end the scan.

    Zeros never end it, because encoders fill the last byte with ones; zeros that were kept would be decoded as pixels
    in place of the missing ones.
    """
    core = len(kept.rstrip(b"\x00\xff"))
    entropy = _ENTROPY_AT_ITS_START.match(kept, core)
    return kept[: core if entropy is None else entropy.end()]


def _is_complete(frame: bytes, scans: Sequence[bytes]) -> bool:
    """Return whether the scans contain every coefficient of every component, to its last bit.

    Args:
        frame: its marker, then its segment: precision, height, width, number of components, and 3 bytes for each.
        scans: their segments: number of components, 2 bytes for each, first and last coefficient, bit positions.
    """
    if len(frame) < 7 or not scans:
        return False
    missing = {frame[7 + 3 * number] if 7 + 3 * number < len(frame) else -1: {*range(64)} for number in range(frame[6])}
    for scan in scans:
        count = scan[0] if scan else 0
        if len(scan) != 4 + 2 * count:
            return False
        first, last, bits = scan[-3:]
        for component in scan[1:-3:2]:
            if frame[0] == _LOSSLESS:
                missing[component] = set()
            elif not bits & 0x0F:
                missing.get(component, set()).difference_update(range(first, last + 1))
    return not any(missing.values())
