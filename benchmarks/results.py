"""Result files: a JSON object a line, to append runs to, and to make tables and plots from without measuring."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


def append(path: Path, records: Iterable[Record]) -> None:
    """Append records to a file, which is created if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(path: Path, key: Sequence[str] = ()) -> list[Record]:
    """Return the records of a file; none if it is missing; of records that agree in all of `key`, only the last."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not key:
        return records
    return list({tuple(record.get(name) for name in key): record for record in records}.values())
