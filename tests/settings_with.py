"""Settings by the names of their variables: `settings_with(image_max_bytes=10)` sets what ANN_IMAGE_MAX_BYTES does."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from settings import Settings


def settings_with(**values: Any) -> Settings:
    """The default settings with other values, which are not parsed; names are in lower case, without `ANN_`."""
    settings: Settings = _changed(Settings(), values)
    assert not values, f"no such settings: {values}"
    return settings


def value_of(settings: Any, variable: str) -> Any:
    """The value that a variable set."""
    for row in fields(settings):
        value = getattr(settings, row.name)
        if row.metadata.get("variable") == variable:
            return value
        if not row.metadata and any(variable == inner.metadata["variable"] for inner in fields(value)):
            return value_of(value, variable)
    raise KeyError(variable)


def _changed(group: Any, values: dict[str, Any]) -> Any:
    changes: dict[str, Any] = {}
    for row in fields(group):
        if not row.metadata:
            changes[row.name] = _changed(getattr(group, row.name), values)
        elif (name := row.metadata["variable"].removeprefix("ANN_").lower()) in values:
            changes[row.name] = values.pop(name)
    return replace(group, **changes)
