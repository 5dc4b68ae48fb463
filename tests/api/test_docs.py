"""The documents tell of every route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import falcon.inspect

README = Path(__file__).resolve().parents[2] / "README.md"


def test_readme_tells_of_every_route(open_app: Any) -> None:
    text = README.read_text()
    routes = falcon.inspect.inspect_routes(open_app(allow_delete=True))
    assert len(routes) >= 7
    for route in routes:
        path = route.path.replace(":int", "")
        methods = [method.method for method in route.methods if not method.internal and method.method != "HEAD"]
        assert methods
        for method in methods:
            assert f"`{method} {path}`" in text
