"""TIFF (revision 6.0, and BigTIFF): directories of tags, which state where the pixels are."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from embeddings.errors import ImageDecodeError
from embeddings.images.containers.bare_file import UPRIGHT, BareFile
from embeddings.images.containers.orientation import orientation_of

_COMPRESSION, _STRIP_OFFSETS, _ORIENTATION, _STRIP_BYTES, _TILE_WIDTH = 259, 273, 274, 279, 322
_NEEDED = frozenset(
    {
        *(256, 257, 258, _COMPRESSION, 262, 266, _STRIP_OFFSETS, 277, 278, _STRIP_BYTES, 284, 292, 293, 317, 320),
        *(332, 334, 338, 339, 347),  # inks, extra samples, their format, tables of JPEG strips
        *(512, 513, 514, 515, 517, 518, 519, 520, 521),  # JPEG before revision 6's second supplement
        *(529, 530, 531, 532),  # YCbCr
        50674,  # LERC
    }
)
_UNCOMPRESSED = 1
_VALUE_BYTES = {3: 2, 4: 4}  # SHORT, LONG
_MOST_STRIPS = 2**20, 2**16  # compressed, and uncompressed: Pillow copies the latter in Python
_MOST_VALUES = 2**16  # of any other tag


@dataclass(frozen=True, slots=True)
class _Directory:
    """How the first directory is written: its offset, the formats of count and entries, and the bytes at its end."""

    place: int
    count: struct.Struct
    entry: struct.Struct
    end: bytes


def bare_tiff(data: bytes) -> BareFile:
    """Keep the tags of the first directory that the pixels need, in a new directory appended to the file.

    If a tag occurs twice, the first counts, as for libtiff.

    Raises:
        ImageDecodeError: the pixels are stored in tiles, or in far too many strips.
    """
    order = ">" if data.startswith(b"MM") else "<"
    is_big = data[2:3] == b"+"  # how Pillow recognizes BigTIFF
    header = struct.Struct(f"{order}Q" if is_big else f"{order}I")
    if len(data) < (16 if is_big else 8):
        raise ImageDecodeError("The image is a TIFF that is cut within its header.")
    directory = _Directory(
        header.unpack_from(data, 8 if is_big else 4)[0],
        struct.Struct(f"{order}Q" if is_big else f"{order}H"),
        struct.Struct(f"{order}HHQ8s" if is_big else f"{order}HHI4s"),
        bytes(header.size),
    )
    tags = _tags(data, directory)
    _check(tags, order)
    kept = [entry for tag, entry in tags.items() if tag in _NEEDED]
    bare = bytearray(data)
    bare += bytes(-len(bare) % header.size)
    header.pack_into(bare, 8 if is_big else 4, len(bare))
    bare += directory.count.pack(len(kept)) + b"".join(directory.entry.pack(*entry) for entry in kept) + directory.end
    return BareFile(bytes(bare), orientation_of(_value(tags.get(_ORIENTATION), order, default=UPRIGHT)))


_Entry = tuple[int, int, int, bytes]
"""Tag, type, number of values, and the values or their offset."""


def _tags(data: bytes, directory: _Directory) -> dict[int, _Entry]:
    if directory.place + directory.count.size > len(data):
        raise ImageDecodeError("The image is a TIFF that is cut before its directory.")
    (count,) = directory.count.unpack_from(data, directory.place)
    begin = directory.place + directory.count.size
    end = min(begin + count * directory.entry.size, len(data))
    whole = (end - begin) // directory.entry.size * directory.entry.size
    tags: dict[int, _Entry] = {}
    for entry in directory.entry.iter_unpack(data[begin : begin + whole]):
        tags.setdefault(entry[0], entry)
    return tags


def _check(tags: dict[int, _Entry], order: str) -> None:
    if _TILE_WIDTH in tags:
        # libtiff allocates memory for a whole tile, whatever the size of the image.
        raise ImageDecodeError("The image is a tiled TIFF: save it in strips, or in another format.")
    compression = _value(tags.get(_COMPRESSION), order, default=_UNCOMPRESSED)
    for tag in _NEEDED & tags.keys():
        most = _MOST_VALUES
        if tag in (_STRIP_OFFSETS, _STRIP_BYTES):
            most = _MOST_STRIPS[compression == _UNCOMPRESSED]
        if tags[tag][2] > most:
            raise ImageDecodeError(f"The image is a TIFF of too many parts (tag {tag}): save it again.")


def _value(entry: _Entry | None, order: str, *, default: int) -> int:
    """Return the value of a tag; the default if the tag is missing or is not a single whole number."""
    if entry is None or entry[1] not in _VALUE_BYTES or entry[2] != 1:
        return default
    return int.from_bytes(entry[3][: _VALUE_BYTES[entry[1]]], "little" if order == "<" else "big")
