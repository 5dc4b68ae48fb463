"""The attributes of logos: read, changed and counted by any number of threads and processes.

When `merge` or `drop` returns, the change is on disk (`database.py`). This module knows nothing of vectors: the caller
that deletes logos drops their attributes first. So a crash in between leaves logos without attributes, and the next
request deletes them. It never leaves attributes that a later logo with the same id would inherit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embeddings.attributes.database import AttributeDatabase, next_change
from embeddings.attributes.limits import DEFAULT_LIMITS, AttributeLimits
from embeddings.attributes.pairs import (
    KeyCount,
    PairNumbers,
    ValueCount,
    ValueState,
    forget_unused_pairs,
    value_state,
)
from embeddings.errors import AttributeValueError

Attributes = dict[str, str]
"""The attributes of one logo, in alphabetical order of their keys."""

_ROWS = 1 << 14  # of attributes, that `items` reads at once
_LAST = "\U0010ffff"  # sorts after every character that a value may have


def attributes_path(store_path: Path) -> Path:
    """Return where the attributes of the logos in a store are kept: `<store>.attributes`, beside it."""
    return store_path.with_name(f"{store_path.name}.attributes")


class AttributeStore:
    """The attributes in one file. Open it after forking. Threads may share it.

    Every method raises DamagedAttributesError if the file is damaged, and StoreUnavailableError if it cannot be used
    now.

    Args:
        path: the file, made if missing (see `attributes_path`).
        limits: which attributes may be set.
        wait_seconds: how long a writer waits for others.
    """

    def __init__(self, path: Path, *, limits: AttributeLimits = DEFAULT_LIMITS, wait_seconds: float = 10.0) -> None:
        self.limits = limits
        self.database = AttributeDatabase(path, wait_seconds=wait_seconds)

    @property
    def path(self) -> Path:
        """The file."""
        return self.database.path

    def merge(self, changes: Mapping[int, Mapping[str, str | None]]) -> None:
        """Set attributes of logos, remove those whose value is `None`, and keep the others, in one transaction.

        Raises:
            AttributeValueError: a key or a value is not allowed, or a logo would have too many; the message names it.
            StoreFullError: its disk has no room.
        """
        for logo_id, attributes in changes.items():
            self.limits.check(logo_id, attributes)
        gone, new = [], []
        for logo_id, attributes in changes.items():
            for key, value in attributes.items():
                if value is None:
                    gone.append((logo_id, key))
                else:
                    new.append((logo_id, key, value))
        with self.database.writing() as connection:
            change = next_change(connection)
            connection.executemany(
                "DELETE FROM attribute WHERE logo = ? AND key = (SELECT key FROM key WHERE name = ?)", gone
            )
            numbers = PairNumbers(connection, change)
            rows = [(logo_id, numbers.of_key(key), numbers.of_pair(key, value), change) for logo_id, key, value in new]
            connection.executemany(
                "INSERT INTO attribute VALUES (?, ?, ?, ?) ON CONFLICT (logo, key) DO UPDATE"
                " SET pair = excluded.pair, change = excluded.change WHERE pair <> excluded.pair",
                rows,
            )
            self._refuse_too_many(connection, {logo_id for logo_id, _, _ in new})
            forget_unused_pairs(connection)

    def drop(self, logo_ids: Collection[int]) -> None:
        """Remove all attributes of some logos.

        Raises:
            StoreFullError: its disk has no room.
        """
        with self.database.writing() as connection:
            next_change(connection)
            connection.execute(
                "DELETE FROM attribute WHERE logo IN (SELECT value FROM json_each(?))", [_json(logo_ids)]
            )
            forget_unused_pairs(connection)

    def get(self, logo_ids: Collection[int]) -> dict[int, Attributes]:
        """Return the attributes of those of the logos that have any, by their ids, in ascending order."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT logo, name, value FROM attribute JOIN pair USING (pair) JOIN key ON key.key = attribute.key"
                " WHERE logo IN (SELECT value FROM json_each(?)) ORDER BY logo, name",
                [_json(logo_ids)],
            )
            return dict(_by_logo(rows))

    def values_of(self, key: str, logo_ids: Collection[int]) -> dict[int, str]:
        """Return the value of one key of those of the logos that have it, by their ids."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT logo, value FROM attribute JOIN pair USING (pair)"
                " WHERE attribute.key = (SELECT key FROM key WHERE name = ?)"
                " AND logo IN (SELECT value FROM json_each(?))",
                [key, _json(logo_ids)],
            )
            return dict(rows)

    def items(self) -> Iterator[tuple[int, Attributes]]:
        """Yield every logo with attributes, by ascending id, as of the moment when the first one is read."""
        with self.database.apart() as connection:
            rows = connection.execute(
                "SELECT logo, name, value FROM attribute JOIN pair USING (pair) JOIN key ON key.key = attribute.key"
                " ORDER BY logo, attribute.key"
            )
            rows.arraysize = _ROWS
            for logo_id, attributes in _by_logo(rows):
                yield logo_id, dict(sorted(attributes.items()))

    def logo_ids(self) -> NDArray[np.int64]:
        """Return the ids of all logos that have attributes, (n,), ascending."""
        with self.database.reading() as connection:
            return _ids_in(connection.execute("SELECT group_concat(logo) FROM (SELECT DISTINCT logo FROM attribute)"))

    def __len__(self) -> int:
        with self.database.reading() as connection:
            (count,) = connection.execute("SELECT count(DISTINCT logo) FROM attribute").fetchone()
            return int(count)

    def keys(self) -> list[KeyCount]:
        """Return the keys in use, in alphabetical order."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT name, sum(logos), count(*) FROM pair JOIN key USING (key) GROUP BY name ORDER BY name"
            )
            return [KeyCount(*row) for row in rows]

    def counts(self, key: str, *, prefix: str = "", limit: int | None = None) -> list[ValueCount]:
        """Return the values of a key and how many logos have each, the most frequent first.

        Args:
            key: which.
            prefix: return only values that begin with it, ignoring case.
            limit: how many values at most; all by default.
        """
        folded = prefix.casefold()
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT value, logos FROM pair WHERE key = (SELECT key FROM key WHERE name = ?)"
                " AND folded >= ? AND folded < ? ORDER BY logos DESC, value LIMIT ?",
                [key, folded, folded + _LAST, -1 if limit is None else limit],
            )
            return [ValueCount(*row) for row in rows]

    def state(self, key: str, value: str) -> ValueState | None:
        """Return when the logos with a value last changed; `None` if no logo has it. This takes microseconds."""
        with self.database.reading() as connection:
            return value_state(connection, key, value)

    def ids_with(self, key: str, value: str) -> NDArray[np.int64]:
        """Return the ids of the logos with a value, (n,), ascending."""
        return self.ids_since(key, value, None)[1]

    def ids_since(
        self, key: str, value: str, since: ValueState | None
    ) -> tuple[ValueState | None, NDArray[np.int64], bool]:
        """Return the logos that got a value since an earlier state, or all that have it if some lost it since.

        Returns:
            The state now; ids, (n,), ascending; whether these are all of them.
        """
        with self.database.reading() as connection:
            now = value_state(connection, key, value)
            if now is None:
                return None, np.zeros(0, np.int64), True
            added = since is not None and since.pair == now.pair and now.removed <= since.changed <= now.changed
            rows = connection.execute(
                "SELECT group_concat(logo) FROM attribute INDEXED BY attribute_pair WHERE pair = ? AND change > ?",
                [now.pair, since.changed if since is not None and added else -1],
            )
            return now, _ids_in(rows), not added

    def change(self) -> int:
        """Return the number of the last change by any process. Numbers only grow; reading one takes microseconds."""
        with self.database.reading() as connection:
            (change,) = connection.execute("SELECT change FROM counter").fetchone()
            return int(change)

    def close(self) -> None:
        """Close the file. No thread may be using it."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_too_many(self, connection: sqlite3.Connection, logo_ids: Collection[int]) -> None:
        too_many = connection.execute(
            "SELECT logo, count(*) FROM attribute WHERE logo IN (SELECT value FROM json_each(?))"
            " GROUP BY logo HAVING count(*) > ? LIMIT 1",
            [_json(logo_ids), self.limits.per_logo],
        ).fetchone()
        if too_many is not None:
            logo_id, count = too_many
            raise AttributeValueError(
                f"attributes of logo {logo_id}: it would have {count}; a logo can have {self.limits.per_logo}."
                " Remove some."
            )


def _json(logo_ids: Collection[int]) -> str:
    return json.dumps([int(logo_id) for logo_id in logo_ids])


def _ids_in(rows: sqlite3.Cursor) -> NDArray[np.int64]:
    """Parse the output of `group_concat`, and return the ids ascending. A row for each id would be far slower."""
    (text,) = rows.fetchone()
    ids = np.zeros(0, np.int64) if text is None else np.fromstring(text, np.int64, sep=",")
    ids.sort()
    return ids


def _by_logo(rows: Iterable[tuple[int, str, str]]) -> Iterator[tuple[int, Attributes]]:
    """Yield logos with their attributes, from rows in which those of a logo are adjacent."""
    current: int | None = None
    attributes: Attributes = {}
    for logo_id, key, value in rows:
        if logo_id != current:
            if current is not None:
                yield current, attributes
            current, attributes = logo_id, {}
        attributes[key] = value
    if current is not None:
        yield current, attributes
