"""Where a logo comes from: the address of its image, and its box there; and the record that keeps it in a row.

A record is 512 bytes, which any HDF5 tool reads (`layout.py`):

    image_url     476 bytes of UTF-8, padded with NUL; a longer address is not kept
    bounding_box  4 x <f8: y_min, x_min, y_max, x_max, in fractions of height and width, as they were given
    crc32         <u4: CRC-32 of the id's 8 bytes (as a positive number), then of the 508 bytes before

If the orientation of the image is known, its address ends with `#exif-orientation=N`, with Exif's N from 1 to 8. No
server ever sees that part of an address, so releases that do not know it still find the image. It is omitted if there
is no room for it.

A record of zeros means that the row has no provenance. So does a record that disagrees with its own checksum: searches
need only the embedding, so a damaged record loses a picture, never a row.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from embeddings.images.decode import BoundingBox  # imports Pillow, which most users of a store do not need

URL_BYTES = 476
RECORD = np.dtype([("image_url", f"S{URL_BYTES}"), ("bounding_box", "<f8", (4,)), ("crc32", "<u4")])
RECORD_BYTES = 512
_FIELDS = struct.Struct(f"<{URL_BYTES}s4d")  # what the checksum covers; numpy takes ten times as long for one record
_COVERED = RECORD_BYTES - 4  # bytes of a record that its checksum covers
_EMPTY = bytes(RECORD_BYTES)
_ORIENTATION = re.compile(rb"#exif-orientation=([0-8])\Z")
_UNKNOWN = 0  # written behind an address that itself ends so

Records = NDArray[np.void]
"""(n,) of `RECORD`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a logo comes from.

    Attributes:
        image_url: the address of the image that it was cut from.
        bounding_box: `(y_min, x_min, y_max, x_max)` in fractions of the image's height and width, as it is stored.
        orientation: how viewers turn the image, 1 to 8, as its Exif said when the logo was embedded. None if that is
            not known, as for logos of earlier releases.
    """

    image_url: str
    bounding_box: BoundingBox
    orientation: int | None = None


def no_records(count: int) -> Records:
    """Return the records, (n,), of rows without provenance."""
    return np.zeros(count, RECORD)


def records_of(logo_ids: Sequence[int], provenance: Sequence[Provenance | None]) -> Records:
    """Return the record of each of n logos, (n,). An address that does not fit is logged, and its record is empty."""
    return np.frombuffer(b"".join(starmap(_record, zip(logo_ids, provenance, strict=True))), RECORD)


def provenance_in(records: Records) -> list[Provenance | None]:
    """Return the provenance in n records, whose checksums were checked."""
    content = records.tobytes()
    return [_provenance(content[row : row + RECORD_BYTES]) for row in range(0, len(content), RECORD_BYTES)]


def damaged_among(ids: NDArray[np.int64], records: Records) -> NDArray[np.bool_]:
    """Return which of n records disagree with their checksums, (n,), given the id slots of their rows."""
    content, id_bytes = records.tobytes(), np.abs(ids).astype("<i8").tobytes()
    return np.fromiter(
        (
            (record := content[RECORD_BYTES * row : RECORD_BYTES * (row + 1)]) != _EMPTY
            and _checksum(id_bytes[8 * row : 8 * (row + 1)], record) != stored
            for row, stored in enumerate(records["crc32"].tolist())
        ),
        bool,
        len(ids),
    )


def sound_records(ids: NDArray[np.int64], content: bytes) -> tuple[Records, NDArray[np.bool_]]:
    """Return the records of n rows, (n,), given their id slots, and which of them are damaged, (n,).

    Records of damaged and unused rows are returned empty.
    """
    records = np.frombuffer(content, RECORD)
    damaged = damaged_among(ids, records) & (ids != 0)
    empty = damaged | (ids == 0)
    if empty.any():
        records = records.copy()
        records[empty] = no_records(1)
    return records, damaged


def _checksum(id_bytes: bytes, record: bytes) -> int:
    return zlib.crc32(record[:_COVERED], zlib.crc32(id_bytes))


def _record(logo_id: int, origin: Provenance | None) -> bytes:
    if origin is None:
        return _EMPTY
    url = _encoded(origin.image_url, origin.orientation)
    if url is None:
        logger.warning("The image of logo %d is not kept: its address is longer than %d bytes", logo_id, URL_BYTES)
        return _EMPTY
    covered = _FIELDS.pack(url, *origin.bounding_box)
    return covered + _checksum(logo_id.to_bytes(8, "little"), covered).to_bytes(4, "little")


def _encoded(url: str, orientation: int | None) -> bytes | None:
    """Return an address as a record stores it; None if it does not fit."""
    try:
        content = url.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no address contains
        return None
    if not content or b"\0" in content:
        return None
    is_ambiguous = _ORIENTATION.search(content) is not None
    if orientation is not None or is_ambiguous:
        oriented = b"%b#exif-orientation=%d" % (content, orientation or _UNKNOWN)
        if len(oriented) <= URL_BYTES:
            return oriented
    return content if len(content) <= URL_BYTES and not is_ambiguous else None


def _provenance(record: bytes) -> Provenance | None:
    if record == _EMPTY:
        return None
    content, y_min, x_min, y_max, x_max = _FIELDS.unpack_from(record)
    url: bytes = content.rstrip(b"\0")
    orientation = None
    if (found := _ORIENTATION.search(url)) is not None:
        url, orientation = url[: found.start()], int(found[1]) or None
    return Provenance(url.decode(errors="replace"), (y_min, x_min, y_max, x_max), orientation)
