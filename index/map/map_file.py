"""`map.json.gz` in a generation: the map of its logos, in the form that is served.

    {"generation": "20261122T030000Z", "logo_ids": [...], "x": [...], "y": [...]}

Positions are whole numbers from 0 to `SIDE`, at the same scale on both axes. gzip's own checksum shows whether the file
is whole, and the name of the generation whether it is in the right place. The map is added after its index is
published, so a generation may lack it.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from durable import READABLE, atomic_write
from index.files.gzip_json import read_gzip_json, stamp_of

MAP_NAME = "map.json.gz"
SIDE = 2**16 - 1

_MAX_BYTES = 2**26  # of JSON: more than a million points
_KEYS = {"generation", "logo_ids", "x", "y"}


@dataclass(frozen=True, slots=True)
class LogoMap:
    """Positions of logos on a plane.

    Attributes:
        logo_ids: (n,) distinct.
        positions: (n, 2) from 0 to `SIDE`, x and y.
    """

    logo_ids: NDArray[np.int64]
    positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MapFile:
    """The content of a map's file, checked.

    Attributes:
        compressed: the file.
        logo_ids: (n,) of the logos on the map.
    """

    compressed: bytes
    logo_ids: NDArray[np.int64]

    @property
    def points(self) -> int:
        """The number of logos on the map."""
        return len(self.logo_ids)

    @classmethod
    def read(cls, generation: Path) -> MapFile | None:
        """Read the map of a generation; `None` if it has none.

        Raises:
            IndexDamagedError: it is damaged, or belongs to another generation.
        """
        content = _read(generation)
        if content is None:
            return None
        compressed, fields = content
        return cls(compressed, np.array(fields["logo_ids"], np.int64))


def read_map(generation: Path) -> LogoMap | None:
    """Read the positions of logos on the map of a generation; `None` if it has none.

    Raises:
        IndexDamagedError: as for `MapFile.read`.
    """
    content = _read(generation)
    if content is None:
        return None
    _, fields = content
    return LogoMap(np.array(fields["logo_ids"], np.int64), np.stack([fields["x"], fields["y"]], axis=1))


def write_map(generation: Path, logo_map: LogoMap) -> None:
    """Store a map in a generation, durably and atomically.

    Raises:
        OSError: it cannot be written, or the generation was removed meanwhile.
    """
    x, y = np.ascontiguousarray(logo_map.positions.T)
    fields = {"generation": generation.name, "logo_ids": logo_map.logo_ids, "x": x, "y": y}
    with atomic_write(generation / MAP_NAME, mode=READABLE, alone=True) as file:
        file.write(gzip.compress(orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY), mtime=0))


def _read(generation: Path) -> tuple[bytes, dict[str, list[int]]] | None:
    def parse(fields: dict[str, list[int]]) -> dict[str, list[int]]:
        _check(fields, generation.name)
        return fields

    return read_gzip_json(generation / MAP_NAME, parse, max_bytes=_MAX_BYTES)


def _check(fields: object, generation: str) -> None:
    """Raise `ValueError` unless fields are those of a map."""
    if not isinstance(fields, dict) or set(fields) != _KEYS:
        raise ValueError("it is not a map")
    if fields["generation"] != generation:
        raise ValueError(f"it is the map of {fields['generation']}")
    columns = [_whole_numbers(fields[name]) for name in ("logo_ids", "x", "y")]
    if len({len(column) for column in columns}) > 1:
        raise ValueError("its lists differ in length")
    ids, x, y = columns
    if len(ids) and (ids.min() < 1 or min(x.min(), y.min()) < 0 or max(x.max(), y.max()) > SIDE):
        raise ValueError("a number in it is out of range")


def _whole_numbers(values: object) -> NDArray[np.int64]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ValueError("it holds something other than whole numbers")
    return np.array(values, np.int64)


def file_stamp(generation: Path) -> tuple[int, int, int] | None:
    """Return values that identify the file of a generation's map; `None` if it has none."""
    return stamp_of(generation / MAP_NAME)
