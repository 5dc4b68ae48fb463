"""What a collection of ours is: its names, and the record that says how it was built.

    alias       logos_<index>                     what answers; a rebuild switches it
    collection  logos_<index>_20261129T030000Z    `logo_id` INT64, the key; `embedding` FLOAT_VECTOR, measured by L2;
                                                  `in_build` BOOL, false for logos that were sent after the build

Milvus' names hold letters, digits and underscores, so other characters of an index's name become underscores; its own
name is in the record, a JSON object in the property `robotoff_ann` of the collection.
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
_NOT_FOUND = (100, 1600)  # Milvus' codes of a missing collection, and of a missing alias


@dataclass(frozen=True, slots=True)
class Record:
    """How a collection was built.

    Attributes:
        index: the name of the index.
        model: the model that made the vectors; empty if unknown.
        weights_digest: of the model's weights; empty if unknown.
        kind: Milvus' index type.
        items: logos that it held when it was whole; 0 as long as it is being filled.
        stored_rows: logos that the store held then.
        built_at: when, in UTC, ISO 8601.
        recall: what was measured; `None` if it was not.
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
        """Write the property's value."""
        return json.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def parse(cls, text: str) -> Record:
        """Read what `format` wrote.

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
            raise ValueError(f"its record lacks a field, or has one too many ({error})") from error
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
        """When it was begun, as its name says; the whole name if it says nothing."""
        found = _STAMP.search(self.name)
        return found[1] if found else self.name


def alias_of(index: str) -> str:
    """Answer the alias of an index."""
    return PREFIX + re.sub(r"\W", "_", index, flags=re.ASCII)


def new_name(index: str) -> str:
    """Answer the name of a collection that is begun now."""
    return f"{alias_of(index)}_{datetime.now(UTC).strftime(_TIME)}"


def collections_of(milvus: Milvus, index: str) -> list[str]:
    """Answer the collections that were made for an index, by whomever, oldest first."""
    start = alias_of(index)
    names = milvus.call("list_collections", seconds=milvus.connection.connect_seconds)
    return sorted(name for name in names if _STAMP.search(name) and _STAMP.sub("", name) == start)


def aliases(milvus: Milvus) -> list[str]:
    """Answer the aliases that may be those of indexes."""
    found = milvus.call("list_aliases", seconds=milvus.connection.connect_seconds)
    names = found["aliases"] if isinstance(found, dict) else found
    return sorted(name for name in names if name.startswith(PREFIX))


def aliased(milvus: Milvus, alias: str) -> str | None:
    """Answer the name of the collection that an alias stands for; `None` if there is no such alias."""
    try:
        found = milvus.call("describe_alias", alias, seconds=milvus.connection.connect_seconds)
    except EngineError as error:
        if error.code in _NOT_FOUND:
            return None
        raise
    return str(found["collection_name"]) if found and found.get("collection_name") else None


def describe(milvus: Milvus, name: str) -> Collection | None:
    """Answer what a collection is; `None` if there is none of that name.

    Raises:
        IndexDamagedError: it is none of ours.
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
    """Replace the record of a collection, for good.

    It takes two calls: Milvus up to 2.3.5 keeps on its disk what the properties were before the last one, and knows no
    others once it is started again (github.com/milvus-io/milvus/issues/30144).
    """
    properties, seconds = {PROPERTY: record.format()}, milvus.connection.connect_seconds
    for _ in range(2):
        milvus.call("alter_collection_properties", name, properties=properties, seconds=seconds)


def create(milvus: Milvus, name: str, *, dim: int, record: Record, params: dict[str, int | bool], shards: int) -> None:
    """Make an empty collection, whose segments are indexed as they fill.

    It is read with bounded staleness: a strong read waits for the next tick of Milvus' clock, 0.2 s on the average.
    """
    seconds = milvus.connection.write_seconds
    options: dict[str, Any] = {"num_shards": shards, "consistency_level": "Bounded"}
    milvus.call("create_collection", name, schema=milvus.schema(dim), seconds=seconds, **options)
    milvus.call("create_index", name, milvus.index_params(record.kind, params), seconds=seconds, sync=False)
    write_record(milvus, name, record)


def count(milvus: Milvus, name: str, *, seconds: float, strong: bool = False) -> int:
    """Answer how many logos a loaded collection holds."""
    level = {"consistency_level": "Strong"} if strong else {}
    (row,) = milvus.call("query", name, filter="", output_fields=["count(*)"], seconds=seconds, **level)
    return int(row["count(*)"])
