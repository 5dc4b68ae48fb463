r"""Parse the filters of requests: `where=server_type:off,type:brand,value:en:organic`.

Conditions are separated by commas, and all of them must hold. A condition is a key and the value that a logo must
have; the key ends at the first colon, so a value may contain others. A comma or a backslash in a value is written with
a backslash before it: `value:salt\, pepper` is one condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embeddings.attributes.limits import DEFAULT_LIMITS, AttributeLimits
from embeddings.errors import FilterError

MAX_CONDITIONS = 16


@dataclass(frozen=True, slots=True)
class Condition:
    """A key, and the value of it that a logo must have."""

    key: str
    value: str

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace(",", "\\,")
        return f"{self.key}:{escaped}"


def parse_where(
    where: str, *, limits: AttributeLimits = DEFAULT_LIMITS, most: int = MAX_CONDITIONS
) -> tuple[Condition, ...]:
    """Return the conditions of a filter, in alphabetical order of their keys.

    Args:
        where: the filter.
        limits: which keys and values are allowed.
        most: the largest number of conditions.

    Raises:
        FilterError: it cannot be parsed; the message says why.
    """
    parts = [*_parts(where)]
    if len(parts) > most:
        raise FilterError(f"where: {len(parts)} conditions; a filter can have {most}")
    conditions: dict[str, Condition] = {}
    for part in parts:
        key, colon, value = part.partition(":")
        if not colon:
            raise FilterError(
                f"where: {part[:80]!r} is not a condition; write key:value, and a comma in a value as \\,"
            )
        problem = limits.key_problem(key) or limits.value_problem(key, value)
        if problem:
            raise FilterError(f"where: {problem}")
        if key in conditions:
            raise FilterError(f"where: {key} is given twice; a logo has one value of each key")
        conditions[key] = Condition(key, value)
    return tuple(conditions[key] for key in sorted(conditions))


def _parts(where: str) -> Iterator[str]:
    """Split a filter at its commas, and remove the backslashes."""
    part = ""
    characters = iter(where)
    for character in characters:
        if character == ",":
            yield part
            part = ""
        elif character == "\\":
            escaped = next(characters, "")
            if escaped not in (",", "\\"):
                raise FilterError(f"where: a backslash before {escaped!r}; only a comma or a backslash may follow it")
            part += escaped
        else:
            part += character
    yield part
