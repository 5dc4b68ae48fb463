"""Number the keys and values of attributes, and keep a count and the last change of each."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ValueCount:
    """A value of a key, and the number of logos that have it."""

    value: str
    logos: int


@dataclass(frozen=True, slots=True)
class KeyCount:
    """A key, the number of logos that have it, and the number of its different values."""

    key: str
    logos: int
    values: int


@dataclass(frozen=True, slots=True)
class ValueState:
    """The state of a value of a key at some change.

    Attributes:
        pair: its number in the database.
        logos: number of logos that have it.
        changed: the last change by which a logo got or lost it.
        removed: the last change by which a logo lost it, or the one that created it.
    """

    pair: int
    logos: int
    changed: int
    removed: int


class PairNumbers:
    """Looks up the numbers of keys and values in one transaction, and creates missing ones."""

    def __init__(self, connection: sqlite3.Connection, change: int) -> None:
        self._connection = connection
        self._change = change
        self._keys: dict[str, int] = {}
        self._pairs: dict[tuple[str, str], int] = {}

    def of_key(self, key: str) -> int:
        """Return the number of a key."""
        number = self._keys.get(key)
        if number is None:
            self._connection.execute("INSERT INTO key (name) VALUES (?) ON CONFLICT DO NOTHING", [key])
            (number,) = self._connection.execute("SELECT key FROM key WHERE name = ?", [key]).fetchone()
            self._keys[key] = number
        return number

    def of_pair(self, key: str, value: str) -> int:
        """Return the number of a value of a key."""
        number = self._pairs.get((key, value))
        if number is None:
            find = "SELECT pair FROM pair WHERE key = ? AND value = ?"
            found = self._connection.execute(find, [self.of_key(key), value]).fetchone()
            if found is None:
                found = self._connection.execute(
                    "INSERT INTO pair (key, value, folded, changed, removed) VALUES (?, ?, ?, ?, ?) RETURNING pair",
                    [self.of_key(key), value, value.casefold(), self._change, self._change],
                ).fetchone()
            (number,) = found
            self._pairs[key, value] = number
        return number


def value_state(connection: sqlite3.Connection, key: str, value: str) -> ValueState | None:
    """Return the state of a value; `None` if no logo has it."""
    row = connection.execute(
        "SELECT pair, logos, changed, removed FROM pair WHERE key = (SELECT key FROM key WHERE name = ?) AND value = ?",
        [key, value],
    ).fetchone()
    return None if row is None else ValueState(*row)


def forget_unused_pairs(connection: sqlite3.Connection) -> None:
    """Delete the values that no logo has any more."""
    connection.execute("DELETE FROM pair WHERE logos = 0")
