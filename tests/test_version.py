"""The version is said in several files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from version import VERSION

ROOT = Path(__file__).resolve().parents[1]


def test_all_files_say_the_same_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert f"${{TAG:-{VERSION}}}" in (ROOT / "docker-compose.yml").read_text()
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == VERSION


def test_image_has_every_module_of_the_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = dockerfile[dockerfile.rindex("COPY manage.py") :].splitlines()[0].split()
    assert {path.name for path in ROOT.glob("*.py")} <= set(copied)
