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


def test_development_stack_runs_the_code_of_the_checkout() -> None:
    """Else a change is seen of some modules, and not of others."""
    mounts = set(re.findall(r"^    - \./(\S+):/app/\1:ro$", (ROOT / "docker" / "dev.yml").read_text(), re.MULTILINE))
    final_stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    folders = set(re.findall(r"^COPY (\w+) \1$", final_stage, re.MULTILINE)) | {"embeddings"}
    assert {"api", "commands", "index"} < folders
    assert "\nCOPY *.py ./\n" in final_stage
    assert mounts == folders | {path.name for path in ROOT.glob("*.py")} - {"no_package.py"}
