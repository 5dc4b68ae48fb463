"""A document with its references replaced by what they refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def inlined(document: Mapping[str, Any]) -> Any:
    """Return a copy of a document without any `$ref`; what stands beside a `$ref` is added to its target."""
    return _inlined(document, document)


def _inlined(part: Any, document: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(value, document) for value in part]
    if not isinstance(part, dict):
        return part
    beside = {key: _inlined(value, document) for key, value in part.items() if key != "$ref"}
    if "$ref" not in part:
        return beside
    target: Any = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**_inlined(target, document), **beside}
