"""Every link between pages leads somewhere, and every page that the code names exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, links, pages, slug_of

_ELSEWHERE = ("http://", "https://", "mailto:")
_NAMED = re.compile(r"(?<![\w/.-])docs/[\w/-]+\.md(?:#[\w-]+)?")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_resolve(page: Path) -> None:
    broken = [link for link in links(page) if not link.startswith(_ELSEWHERE) and not _resolves(page, link)]
    assert not broken


def test_pages_named_in_code_and_configuration_exist() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    broken = [
        f"{name}: {target}"
        for name in tracked.stdout.split("\0")
        if name.endswith((".py", ".yml", ".yaml", ".json", ".txt", ".html", ".js", "Makefile", "Dockerfile"))
        for target in _NAMED.findall((ROOT / name).read_text(encoding="utf-8"))
        if not _resolves(ROOT / "Makefile", target)
    ]
    assert not broken


def test_every_page_of_docs_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert set(index.parent.glob("*.md")) - {index} <= linked


def test_anchors_are_those_of_github() -> None:
    assert slug_of("`GET /api/v1/ann/{logo_id}`") == "get-apiv1annlogo_id"
    assert slug_of("The store is full (507)") == "the-store-is-full-507"
    assert slug_of("A [page](page.md), and more: this") == "a-page-and-more-this"


def _resolves(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or (target.suffix == ".md" and anchor in anchors(target)))
