"""How the service sends the files of the explorer."""

from __future__ import annotations

import gzip
import re
from typing import Any

import falcon.testing
import pytest

from api.routes.explorer import FOLDER

MOST_BYTES = 80_000  # compressed size of all files that the page can load


def test_page_is_at_the_root(client: falcon.testing.TestClient) -> None:
    page = client.simulate_get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Logo explorer</title>" in page.text


def test_policy_allows_pictures_from_any_host_and_all_else_from_this_one(
    client: falcon.testing.TestClient,
) -> None:
    policy = client.simulate_get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "img-src * data: blob:" in policy
    assert "unsafe" not in policy


def statically_imported(name: str, known: frozenset[str] = frozenset()) -> set[str]:
    """Return what a module imports as it is loaded, and so on, with itself."""
    found = {*known, name}
    for imported in re.findall(r'^(?:import|\}?.*from)\s*"\./([^"]+)"', (FOLDER / name).read_text(), re.MULTILINE):
        if imported not in found:
            found |= statically_imported(imported, frozenset(found))
    return found


def test_every_file_that_a_file_names_is_served(client: falcon.testing.TestClient) -> None:
    named = set(re.findall(r'"(explorer/[^"]+)"', client.simulate_get("/").text))
    for file in FOLDER.glob("*.js"):
        text = file.read_text()
        named |= {f"explorer/{name}" for name in re.findall(r'(?:from|import\()\s*"\./([^"]+)"', text)}
        named |= set(re.findall(r'"(explorer/[^"]+)"', text))
    assert {"explorer/app.js", "explorer/map.js", "explorer/style.css"} <= named
    for path in named:
        assert client.simulate_get(f"/{path}").status_code == 200, path


def test_all_modules_that_a_visit_needs_are_asked_for_at_once() -> None:
    listed = re.search(r"const MODULES = \[(.*?)\]", (FOLDER / "start.js").read_text(), re.DOTALL)
    assert listed is not None
    at_once = {f"{name}.js" for line in re.findall(r'"(.*?)"', listed[1]) for name in line.split()}
    assert at_once == statically_imported("app.js") - {"app.js"}


def test_no_file_is_unused(client: falcon.testing.TestClient) -> None:
    text = "".join(file.read_text() for file in FOLDER.iterdir())
    for file in FOLDER.iterdir():
        assert file.name == "index.html" or file.name in text


def test_page_is_small() -> None:
    assert sum(len(gzip.compress(file.read_bytes())) for file in FOLDER.iterdir()) < MOST_BYTES


@pytest.mark.parametrize("path", ["/", "/explorer/app.js"])
def test_explorer_can_be_switched_off(open_app: Any, path: str) -> None:
    client = falcon.testing.TestClient(open_app(explorer=False))
    assert client.simulate_get(path).status_code == 404
