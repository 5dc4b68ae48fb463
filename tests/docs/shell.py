"""Find the commands on a page, and the JSON that they should print."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCKS = re.compile(r"^```sh\n(.*?)^```\n(?:\n*^```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_VARIABLE = {"generation", "built_at", "age_seconds", "detail", "map_points"}


@dataclass(frozen=True, slots=True)
class Example:
    """An `sh` block of a page, and the JSON values of the block that follows it, if there is one."""

    command: str
    answers: list[Any]


def examples(text: str) -> list[Example]:
    """Return the `sh` blocks of a page's text, in order."""
    return [Example(command, _json_lines(answers)) for command, answers in _BLOCKS.findall(text)]


def printed(text: str) -> list[Any]:
    """Return the JSON values that commands printed without line ends."""
    decoder, values, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        values.append(value)
        rest = rest[end:].lstrip()
    return values


def alike(answered: Any, shown: Any) -> bool:
    """Return whether an answer is as shown: distances to one digit, values that vary between runs by their type."""
    return bool(_fixed(answered) == _fixed(shown))


def read(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def _json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: type(part) if key in _VARIABLE else _fixed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_fixed(part) for part in value]
    return round(value, 1) if isinstance(value, float) else value
