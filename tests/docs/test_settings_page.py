"""docs/settings.md has a row for each setting, with its default, values and purpose."""

from __future__ import annotations

import re
from typing import Any

from settings import table
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def shown_default(default: Any) -> str:
    if default is None:
        return "unset"
    if default == frozenset():
        return "empty"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_page_has_a_row_for_every_setting() -> None:
    rows = [
        f"| `{row.metadata['variable']}` | {shown_default(row.default)} | {row.metadata['takes']} |"
        f" {row.metadata['purpose']} |"
        for row in table()
    ]
    missing = [row for row in rows if PAGE.splitlines().count(row) != 1]
    assert not missing, "\n".join(["rows for docs/settings.md:", *missing])


def test_page_has_no_unknown_setting() -> None:
    known = {row.metadata["variable"] for row in table()}
    assert set(re.findall(r"^\| `((?:ANN_)\w+)`", PAGE, re.MULTILINE)) <= known
