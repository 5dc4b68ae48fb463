"""The client that docs/robotoff.md prints, as a module."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from tests.docs.pages import ROOT
from tests.docs.shell import read
from tests.end_to_end.service import manage

MOST_LINES = 120

_PAGE = read(ROOT / "docs" / "robotoff.md")


def create_collection(data_dir: Path) -> None:
    """Create the collection of the page with the page's command."""
    (command,) = re.findall(r"^python manage.py (create-collection .*)$", _PAGE, re.MULTILINE)
    created = manage(data_dir, *command.split())
    assert created.returncode == 0, created.stderr


def client_of_page(port: int) -> ModuleType:
    """Return the module of the page, for the service on a port of loopback."""
    (source,) = re.findall(r"^```python\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    assert source.count("\n") <= MOST_LINES
    module = ModuleType("robotoff_client")
    exec(compile(source, "docs/robotoff.md", "exec"), module.__dict__)
    module.API = f"http://127.0.0.1:{port}/api/v1/ann"  # type: ignore[attr-defined]
    return module
