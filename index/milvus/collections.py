"""Collections: their names, and the record in each that says how it was built.

    alias       logos_<index>                     what is searched; a rebuild switches it
    collection  logos_<index>_20261129T030000Z    `logo_id` INT64, the key; `embedding` FLOAT_VECTOR, measured by L2;
                                                  `in_build` BOOL, false for logos that were sent after the build

Milvus' names consist of letters, digits and underscores, so other characters of an index's name become underscores. The
index's real name is in the record, a JSON object in the property `robotoff_ann` of the collection.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from index.errors import EngineError, IndexDamagedError
from index.milvus.client import Milvus
from index.status import Recall

PROPERTY = "robotoff_ann"
PREFIX = "logos_"

_FORMAT = 1
_TIME = "%Y%m%dT%H%M%SZ"
_STAMP = re.compile(r"_(\d{8}T\d{6}Z)\Z")
_NOT_FOUND = (100, 1600)  # Milvus' codes for a missing collection, and for a missing alias


@dataclass(frozen=True, slots=True)
class Record:
    """How a collection was built.

    Attributes:
        index: the name of the index.
        model: the model that made the vectors; empty if unknown.
        weights_digest: of the model's weights; empty if unknown.
        kind: Milvus' index type.
        items: number of logos when it was completed; 0 while it is being filled.
        stored_rows: number of logos in the store then.
        built_at: build time in UTC, ISO 8601.
        recall: the measured recall; `None` if not measured.
    """

    index: str
    model: str
    weights_digest: str
    kind: str
    items: int = 0
    stored_rows: int = 0
    built_at: str = ""
    recall: Recall | None = None

    def format(self) -> str:
        """Return the property's value."""
        return json.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def parse(cls, text: str) -> Record:
        """Parse the output of `format`.

        Raises:
            ValueError: it is something else.
        """
        try:
            fields = json.loads(text)
            if fields.pop("format") != _FORMAT:
                raise ValueError(f"its record is not of format {_FORMAT}")
            recall = fields.pop("recall")
            record = cls(**fields, recall=None if recall is None else Recall(**recall))
            if record.built_at:
                datetime.fromisoformat(record.built_at)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"its record lacks a field, or has an unknown one ({error})") from error
        return record


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as the server describes it.

    Attributes:
        name: of the collection.
        dim: the number of values of a vector.
        record: how it was built.
        marks_build: whether it has the field `in_build`; without it, all its logos count as those of the build.
    """

    name: str
    dim: int
    record: Record
    marks_build: bool = True

    @property
    def stamp(self) -> str:
        """When its build began, from its name; the whole name if that contains no time."""
        found = _STAMP.search(self.name)
        return found[1] if found else self.name


def alias_of(index: str) -> str:
    """Return the alias of an index."""
    return PREFIX + re.sub(r"\W", "_", index, flags=re.ASCII)


def new_name(index: str) -> str:
    """Return a name for a collection whose build begins now."""
    return f"{alias_of(index)}_{datetime.now(UTC).strftime(_TIME)}"


def collections_of(milvus: Milvus, index: str) -> list[str]:
    """Return the collections that were made for an index, by any machine, oldest first."""
    start = alias_of(index)
    names = milvus.call("list_collections", seconds=milvus.connection.connect_seconds)
    return sorted(name for name in names if _STAMP.search(name) and _STAMP.sub("", name) == start)


def aliases(milvus: Milvus) -> list[str]:
    """Return the aliases that may belong to indexes."""
    found = milvus.call("list_aliases", seconds=milvus.connection.connect_seconds)
    names = found["aliases"] if isinstance(found, dict) else found
    return sorted(name for name in names if name.startswith(PREFIX))


def aliased(milvus: Milvus, alias: str) -> str | None:
    """Return the name of the collection that an alias points at; `None` if there is no such alias."""
    try:
        found = milvus.call("describe_alias", alias, seconds=milvus.connection.connect_seconds)
    except EngineError as error:
        if error.code in _NOT_FOUND:
            return None
        raise
    return str(found["collection_name"]) if found and found.get("collection_name") else None


def describe(milvus: Milvus, name: str) -> Collection | None:
    """Return the description of a collection; `None` if there is none of that name.

    Raises:
        IndexDamagedError: `generate-index` did not make it.
    """
    try:
        found = milvus.call("describe_collection", name, seconds=milvus.connection.connect_seconds)
    except EngineError as error:
        if error.code in _NOT_FOUND:
            return None
        raise
    fields = {field["name"]: field for field in found["fields"]}
    try:
        record = Record.parse(found.get("properties", {}).get(PROPERTY, "null"))
        return Collection(name, int(fields["embedding"]["params"]["dim"]), record, "in_build" in fields)
    except (KeyError, ValueError) as error:
        raise IndexDamagedError(f"the collection {name} was not made by `generate-index`: {error}") from error


def write_record(milvus: Milvus, name: str, record: Record) -> None:
    """Replace the record of a collection durably.

    This takes two calls: Milvus up to 2.3.5 writes to its disk the properties as they were before the last change, and
    knows no others after a restart (github.com/milvus-io/milvus/issues/30144).
    """
    properties, seconds = {PROPERTY: record.format()}, milvus.connection.connect_seconds
    for _ in range(2):
        milvus.call("alter_collection_properties", name, properties=properties, seconds=seconds)


def create(milvus: Milvus, name: str, *, dim: int, record: Record, params: dict[str, int | bool], shards: int) -> None:
    """Create an empty collection, whose segments are indexed as they fill.

    It is read with bounded staleness: a strong read waits for the next tick of Milvus' clock, 0.2 s on average.
    """
    seconds = milvus.connection.write_seconds
    options: dict[str, Any] = {"num_shards": shards, "consistency_level": "Bounded"}
    milvus.call("create_collection", name, schema=milvus.schema(dim), seconds=seconds, **options)
    milvus.call("create_index", name, milvus.index_params(record.kind, params), seconds=seconds, sync=False)
    write_record(milvus, name, record)


def count(milvus: Milvus, name: str, *, seconds: float, strong: bool = False) -> int:
    """Return the number of logos in a loaded collection."""
    level = {"consistency_level": "Strong"} if strong else {}
    (row,) = milvus.call("query", name, filter="", output_fields=["count(*)"], seconds=seconds, **level)
    return int(row["count(*)"])
