"""The commands that a page shows, and the JSON that it says they print."""

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
    """Commands of a page, and the JSON that it shows below them; `None` if it shows none."""

    command: str
    answer: Any


def examples(page: Path) -> list[Example]:
    """Return the `sh` blocks of a page, except settings of `S`, each with the `json` block that follows it."""
    found = _BLOCKS.findall(page.read_text(encoding="utf-8"))
    return [
        Example(command, json.loads(answer) if answer else None) for command, answer in found if command[:2] != "S="
    ]


def alike(answered: Any, shown: Any) -> bool:
    """Tell whether an answer is as shown: distances to one digit, what varies from run to run by its type."""
    return bool(_fixed(answered) == _fixed(shown))


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: type(part) if key in _VARIABLE else _fixed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_fixed(part) for part in value]
    return round(value, 1) if isinstance(value, float) else value
