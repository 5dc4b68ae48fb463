"""Check the attributes that clients set."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from embeddings.errors import AttributeValueError

_KEY = re.compile(r"[a-z][a-z0-9_]*")
_UNPRINTABLE = frozenset(["Cc", "Cs", "Zl", "Zp"])  # control characters, halves of surrogate pairs, line breaks


@dataclass(frozen=True, slots=True)
class AttributeLimits:
    """The largest number of attributes of a logo, and their greatest length.

    Attributes:
        per_logo: the largest number of attributes.
        key_length: characters in a key, which is a lower-case letter, then lower-case letters, digits and `_`.
        value_length: characters in a value, which has no control characters and line breaks.
    """

    per_logo: int = 16
    key_length: int = 32
    value_length: int = 256

    def check(self, logo_id: int, attributes: Mapping[str, str | None]) -> None:
        """Raise AttributeValueError if an attribute is not allowed. A value of `None` removes it."""
        for key, value in attributes.items():
            problem = self.key_problem(key) or (None if value is None else self.value_problem(key, value))
            if problem:
                raise AttributeValueError(f"attributes of logo {logo_id}: {problem}")

    def key_problem(self, key: object) -> str | None:
        """Return what is wrong with a key; `None` if nothing is."""
        if isinstance(key, str) and len(key) <= self.key_length and _KEY.fullmatch(key):
            return None
        return (
            f"{str(key)[:40]!r} is not a key: up to {self.key_length} lower-case letters, digits and '_', beginning "
            "with a letter"
        )

    def value_problem(self, key: str, value: object) -> str | None:
        """Return what is wrong with a value; `None` if nothing is."""
        if not isinstance(value, str):
            return f"the value of {key} is {str(value)[:40]!r}, not a string"
        if not 0 < len(value) <= self.value_length:
            return f"the value of {key} has {len(value)} characters; it may have 1 to {self.value_length}"
        for place, character in enumerate(value if not value.isprintable() else ""):
            if unicodedata.category(character) in _UNPRINTABLE:
                return f"the value of {key} has a control character or line break at place {place} ({character!a})"
        return None


DEFAULT_LIMITS = AttributeLimits()
