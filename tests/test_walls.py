"""The walls between rooms: which of them knows which, and that no module imports itself in a circle.

Imports inside functions and for type checkers count as well.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("api", "commands", "embeddings", "index", "runtime")
WALLS = {
    "embeddings": {"api", "click", "commands", "falcon", "gunicorn", "index", "manage", "runtime", "settings"},
    "index": {"api", "click", "commands", "embeddings", "falcon", "gunicorn", "manage", "runtime", "settings"},
    "runtime": {"api", "click", "commands", "falcon", "gunicorn", "manage"},
    "commands": {"api", "falcon", "gunicorn", "manage"},
    "manage": {"api", "falcon", "gunicorn"},
    "api": {"click", "commands", "manage"},
}
"""What each room, or single module, must not import."""


def imported(source: str) -> set[str]:
    """Return the modules that a source imports, and what it imports from them: that may be a module, too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return names


def modules_of(room: str) -> dict[str, set[str]]:
    """Return what each module of a room imports."""
    single = ROOT / f"{room}.py"
    paths = [single] if single.exists() else sorted((ROOT / room).rglob("*.py"))
    assert paths, room
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): imported(path.read_text())
        for path in paths
    }


def beyond(wall: Iterable[str], modules: Mapping[str, set[str]]) -> set[str]:
    """Return which modules import what lies behind a wall, as `importer: imported`."""
    return {f"{module}: {name}" for module, names in modules.items() for name in names if name.split(".")[0] in wall}


def circle_in(modules: Mapping[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle; none if there is no circle."""
    try:
        graphlib.TopologicalSorter({module: names & modules.keys() for module, names in modules.items()}).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


@pytest.mark.parametrize("room", WALLS)
def test_no_room_imports_what_it_must_not_know(room: str) -> None:
    assert beyond(WALLS[room], modules_of(room)) == set()


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_has_a_circle_of_imports(room: str) -> None:
    assert circle_in(modules_of(room)) == []


def test_what_breaks_a_wall_or_closes_a_circle_is_found() -> None:
    sources = {
        "index.a": "def f():\n    from embeddings.store import store\n",
        "index.b": "import typing\nif typing.TYPE_CHECKING:\n    from index import c\n",
        "index.c": "import index.b\n",
    }
    modules = {name: imported(source) for name, source in sources.items()}
    assert beyond(WALLS["index"], modules) == {"index.a: embeddings.store", "index.a: embeddings.store.store"}
    assert set(circle_in(modules)) == {"index.b", "index.c"}
