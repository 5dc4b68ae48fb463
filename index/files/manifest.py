"""`index.json`: the description of a generation, and of what its files must be.

It is written last and has the size and SHA-256 of the other files, so files that do not belong together are recognised.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from durable import READABLE, atomic_write
from index.errors import IndexDamagedError
from index.files.regular_file import read_regular
from index.lists.effort import Effort
from index.lists.filtered import FilteredRecall
from index.lists.reach import Reach
from index.status import Recall

BIN_NAME = "index.bin"
TXT_NAME = "index.txt"
JSON_NAME = "index.json"
COMPONENTS_NAME = "index.components.npy"
RECORDS_NAME = "index.records"
CODES_NAME = "index.codes"
VECTORS_NAME = "index.vectors"

OF_AN_EARLIER_BUILD = "it is an index of lists of an earlier build: run `manage.py generate-index` again"

_FORMAT = 1
_METRIC = "euclidean"
_OPTIONAL = ("lists", "recall")
_REDUCED = "reduction"  # what the reduced indexes of earlier releases have


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file must be: its size in bytes and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str

    def __post_init__(self) -> None:
        _check_types(self)
        if self.size < 1 or not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("a file has no size, or no SHA-256")


@dataclass(frozen=True, slots=True)
class ListsRecord:
    """What an index of lists is made of; see `index.lists`.

    Attributes:
        count: number of lists.
        coded: principal components that centres and codes are made of.
        recorded: principal components of a record.
        effort: of a query.
        components: `index.components.npy`.
        records: `index.records`, a record a logo, in item order.
        codes: `index.codes`.
        vectors: `index.vectors`; `None` where there are too many for a copy.
        filtered: the recall of queries with filters, the most common filter first.
        reaches: how far queries look, by the average number of lists that they scan, rising.
    """

    count: int
    coded: int
    recorded: int
    effort: Effort
    components: FileRecord
    records: FileRecord
    codes: FileRecord
    vectors: FileRecord | None = None
    filtered: tuple[FilteredRecall, ...] = ()
    reaches: tuple[Reach, ...] = ()

    def __post_init__(self) -> None:
        _check_types(self)
        _check_types(self.effort)
        for filtered in self.filtered:
            _check_types(filtered)
        for reach in self.reaches:
            _check_types(reach)
        if self.count < 1 or not 1 <= self.coded <= self.recorded:
            raise ValueError("an index of lists has no list, or no components")

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> ListsRecord:
        """Parse the output of `asdict`."""
        effort = Effort(**fields.pop("effort"))
        components, records, codes = (FileRecord(**fields.pop(name)) for name in ("components", "records", "codes"))
        vectors = fields.pop("vectors")
        vectors = None if vectors is None else FileRecord(**vectors)
        if "filtered" not in fields or "step" in fields:  # their files are read in another way
            raise ValueError(OF_AN_EARLIER_BUILD)
        filtered = tuple(FilteredRecall(**row) for row in fields.pop("filtered"))
        reaches = tuple(Reach(**row) for row in fields.pop("reaches", ()))
        return cls(
            **fields,
            effort=effort,
            components=components,
            records=records,
            codes=codes,
            vectors=vectors,
            filtered=filtered,
            reaches=reaches,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `index.json`.

    Attributes:
        dim: the number of values in a vector.
        items: number of logos in the index.
        trees: number of Annoy's trees.
        seed: of the build; `None` if Annoy chose it.
        index_bin: vectors, or the centres of lists, and trees, in Annoy's format.
        index_txt: the logo ids in item order.
        model: the model that made the vectors; empty if unknown.
        weights_digest: of the model's weights; empty if unknown.
        built_at: UTC, ISO 8601.
        stored_rows: number of logos in the store when the index was built.
        lists: `None` if the trees are grown over the vectors themselves.
        recall: the recall measured after the build; `None` if not measured.
    """

    dim: int
    items: int
    trees: int
    seed: int | None
    index_bin: FileRecord
    index_txt: FileRecord
    model: str
    weights_digest: str
    built_at: str
    stored_rows: int
    lists: ListsRecord | None = None
    recall: Recall | None = None

    def __post_init__(self) -> None:
        _check_types(self)
        if min(self.dim, self.items, self.trees) < 1:
            raise ValueError("dim, items and trees are at least 1")
        if self.recall is not None:
            _check_types(self.recall)
        datetime.fromisoformat(self.built_at)

    def format(self) -> bytes:
        """Return the content of an `index.json`."""
        fields = {"format": _FORMAT, "metric": _METRIC, **asdict(self)}
        fields = {name: value for name, value in fields.items() if name not in _OPTIONAL or value is not None}
        return (json.dumps(fields, indent=2) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Parse the content of an `index.json`.

        Raises:
            ValueError: it is not exactly what `format` returns.
        """
        fields = json.loads(content)
        try:
            if (fields.pop("format"), fields.pop("metric")) != (_FORMAT, _METRIC):
                raise ValueError(f"it is not of format {_FORMAT} with metric {_METRIC}")
            index_bin, index_txt = (FileRecord(**fields.pop(name)) for name in ("index_bin", "index_txt"))
            if _REDUCED in fields:
                raise ValueError("it is a reduced index of an earlier release: run `manage.py generate-index` again")
            lists = ListsRecord.parse(fields.pop("lists")) if "lists" in fields else None
            recall = Recall(**fields.pop("recall")) if "recall" in fields else None
            return cls(**fields, index_bin=index_bin, index_txt=index_txt, lists=lists, recall=recall)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"a field is missing, unknown or of a wrong type ({error})") from error


def read_manifest(directory: Path) -> Manifest:
    """Read the `index.json` of a generation.

    Raises:
        IndexDamagedError: it is missing or broken.
    """
    try:
        return Manifest.parse(read_regular(directory / JSON_NAME))
    except (OSError, ValueError, RecursionError) as error:
        raise IndexDamagedError(f"{directory / JSON_NAME}: {error}") from error


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the `index.json` of a generation, durably."""
    with atomic_write(directory / JSON_NAME, mode=READABLE, alone=True) as file:
        file.write(manifest.format())


def _check_types(value: FileRecord | ListsRecord | Effort | FilteredRecall | Reach | Recall | Manifest) -> None:
    for name, kind in get_type_hints(type(value)).items():
        field = getattr(value, name)
        if not isinstance(field, get_origin(kind) if get_origin(kind) is tuple else kind) or isinstance(field, bool):
            raise TypeError(f"{name} is {field!r}")
