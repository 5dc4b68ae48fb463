"""docs/api.md describes every route, and its examples return what it shows."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.photos import make_photos
from tests.docs.pages import ROOT
from tests.docs.shell import Example, alike, examples, printed, read
from tests.openapi.toured_service import TOUR_PHOTOS, TouredService
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE

PAGE = read(ROOT / "docs" / "api.md")
PHOTOS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder with the photos that the examples send."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "photos").mkdir()
    for photo in make_photos(12, 1):
        if photo.name in TOUR_PHOTOS:
            (folder / "photos" / photo.name).write_bytes(photo.jpeg)
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[TouredService]:
    with PhotoServer() as photos, TouredService(folder, photos) as service:
        service.take_the_tour()
        yield service


def routes(service: TouredService) -> set[tuple[str, str]]:
    paths = service.document["paths"].items()
    return {(method.upper(), path) for path, methods in paths for method in methods}


def test_page_describes_exactly_the_routes(service: TouredService) -> None:
    told = re.findall(r"^(?:### |\| ).*?`[A-Z]+ /.*$", PAGE, re.MULTILINE)
    assert {found for line in told for found in re.findall(r"`([A-Z]+) (/[^`]*)`", line)} == routes(service)


def test_front_page_names_every_route_except_files(service: TouredService) -> None:
    table = read(ROOT / "README.md").partition("\n| route | returns |\n")[2].partition("\n\n")[0]
    named = {path.removeprefix("/api/v1/ann") for path in re.findall(r"`(?:[A-Z]+ )?(/[^`]*)`", table)}
    paths = {path.removeprefix("/api/v1/ann") for _, path in routes(service) if not path.endswith("/{file}")}
    assert named == paths


def test_every_example_returns_what_the_page_shows(service: TouredService, folder: Path) -> None:
    shown = [example for example in examples(PAGE) if not example.command.startswith("S=")]
    assert len(shown) >= 14
    for example in shown:
        answers = _run(example, service, folder)
        assert not example.answers or alike(answers, example.answers), f"{example.command}answered {answers}"


def _run(example: Example, service: TouredService, folder: Path) -> list[object]:
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.command.replace(PHOTOS, service.photos.url(""))],
        cwd=folder,
        env={**os.environ, "S": service.address("")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return printed(ran.stdout.replace(service.photos.url(""), PHOTOS)) if example.answers else []
