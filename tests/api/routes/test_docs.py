"""The documents tell of every route."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from api.openapi import routes

README = Path(__file__).resolve().parents[3] / "README.md"


def test_readme_tells_of_every_route_and_of_no_other(open_app: Any) -> None:
    table = README.read_text().partition("\n| route | answer |\n")[2].partition("\n\n")[0]
    told = {
        (method, path)
        for row in table.splitlines()
        for method, path in re.findall("`([A-Z]+) ([^`]+)`", row.split("|")[1])
    }
    assert told == set(routes(open_app(allow_delete=True)))
