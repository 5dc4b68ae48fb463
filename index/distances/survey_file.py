"""`distances.json.gz` in a generation: the survey of the distances between its logos.

    {"generation": "20261122T030000Z", "any_two": [...], "nearest": [...], "searched": 20000, "cut_off": 0.48,
     "pairs": {"one": [...], "other": [...], "distance": [...]}}

Like the map, it is added after the index is published, so a generation may lack it. gzip's own checksum shows whether
the file is whole, and the name of the generation whether it is in the right place.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from durable import READABLE, atomic_write
from index.files.gzip_json import read_gzip_json, stamp_of

SURVEY_NAME = "distances.json.gz"

_MAX_BYTES = 2**25  # of JSON: four times as much as the most pairs take
_KEYS = {"generation", "any_two", "nearest", "searched", "cut_off", "pairs"}
_PAIR_KEYS = {"one", "other", "distance"}


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs of logos that are near each other, the nearest first.

    Attributes:
        logo_ids: (n, 2), the smaller id of each pair first.
        distances: (n,) Euclidean.
    """

    logo_ids: NDArray[np.int64]
    distances: NDArray[np.float64]

    def at(self, distances: NDArray[np.float64]) -> NearPairs:
        """Return the same pairs with distances of another metric, (n,), in which they have the same order."""
        return NearPairs(self.logo_ids, distances)


@dataclass(frozen=True, slots=True)
class Survey:
    """How far apart the logos of an index are, in Euclidean distances.

    Attributes:
        any_two: the percentiles 0 to 100 of the distance of any two logos, (101,); (0,) if there is only one logo.
        nearest: the same of the distance from a logo to its nearest other one.
        searched: how many logos were searched for.
        cut_off: the largest distance of a near pair.
        pairs: the near pairs that were found.
    """

    any_two: NDArray[np.float64]
    nearest: NDArray[np.float64]
    searched: int
    cut_off: float
    pairs: NearPairs


def write_survey(generation: Path, survey: Survey) -> None:
    """Store a survey in a generation, durably and atomically.

    Raises:
        OSError: it cannot be written, or the generation was removed meanwhile.
    """
    one, other = np.ascontiguousarray(survey.pairs.logo_ids.T)
    fields = {
        "generation": generation.name,
        "any_two": np.round(survey.any_two, 6),
        "nearest": np.round(survey.nearest, 6),
        "searched": survey.searched,
        "cut_off": round(survey.cut_off, 6),
        "pairs": {"one": one, "other": other, "distance": np.round(survey.pairs.distances, 6)},
    }
    with atomic_write(generation / SURVEY_NAME, mode=READABLE, alone=True) as file:
        file.write(gzip.compress(orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY), mtime=0))


def read_survey(generation: Path) -> Survey | None:
    """Read the survey of a generation; `None` if it has none.

    Raises:
        IndexDamagedError: it is damaged, or belongs to another generation.
    """
    read = read_gzip_json(
        generation / SURVEY_NAME, lambda fields: _parse(fields, generation.name), max_bytes=_MAX_BYTES
    )
    return None if read is None else read[1]


def survey_stamp(generation: Path) -> tuple[int, int, int] | None:
    """Return values that identify the file of a generation's survey; `None` if it has none."""
    return stamp_of(generation / SURVEY_NAME)


def _parse(fields: Any, generation: str) -> Survey:
    """Return a survey; raise `ValueError` unless the fields are those of one."""
    if not isinstance(fields, dict) or set(fields) != _KEYS:
        raise ValueError("it is not a survey of distances")
    if fields["generation"] != generation:
        raise ValueError(f"it is the survey of {fields['generation']}")
    pairs, searched = fields["pairs"], fields["searched"]
    if not isinstance(pairs, dict) or set(pairs) != _PAIR_KEYS or type(searched) is not int:
        raise ValueError("its pairs, or the number of logos that it searched for, are missing")
    if not all(type(logo_id) is int and logo_id > 0 for name in ("one", "other") for logo_id in pairs[name]):
        raise ValueError("an id in it is not a positive whole number")
    ids = [np.array(pairs[name], np.int64) for name in ("one", "other")]
    any_two, nearest, distances = (
        _distances(values) for values in (fields["any_two"], fields["nearest"], pairs["distance"])
    )
    if not len(ids[0]) == len(ids[1]) == len(distances) or not {len(any_two), len(nearest)} <= {0, 101}:
        raise ValueError("its lists have wrong lengths")
    (cut_off,) = _distances([fields["cut_off"]])
    return Survey(any_two, nearest, searched, float(cut_off), NearPairs(np.stack(ids, axis=1), distances))


def _distances(values: Any) -> NDArray[np.float64]:
    if not isinstance(values, list) or not all(type(value) in (int, float) and value >= 0 for value in values):
        raise ValueError("a distance in it is not a number from 0")
    return np.array(values, np.float64)
