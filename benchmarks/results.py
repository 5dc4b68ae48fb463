"""Result files: a JSON object a line, to add runs to, and to make tables and plots of without measuring."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


def append(path: Path, records: Iterable[Record]) -> None:
    """Add records to a file, which is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(path: Path, key: Sequence[str] = ()) -> list[Record]:
    """The records of a file, none if it is not there; of those that agree in all of `key`, the last alone."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not key:
        return records
    return list({tuple(record.get(name) for name in key): record for record in records}.values())
