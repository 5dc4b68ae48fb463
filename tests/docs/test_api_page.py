"""docs/api.md tells of every route, and its examples are answered as it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.photos import make_photos
from tests.docs.pages import ROOT
from tests.docs.shell import Example, alike, examples
from tests.openapi.toured_service import TOUR_PHOTOS, TouredService
from tests.photo_server import PhotoServer

PAGE = ROOT / "docs" / "api.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples send."""
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


def test_the_page_tells_of_every_route_and_of_no_other(service: TouredService) -> None:
    told = re.findall(r"^(?:### |\| ).*?`[A-Z]+ /.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {found for line in told for found in re.findall(r"`([A-Z]+) (/[^`]*)`", line)}
    paths = service.document["paths"].items()
    assert shown == {(method.upper(), path) for path, methods in paths for method in methods}


def test_every_example_is_answered_as_the_page_shows(service: TouredService, folder: Path) -> None:
    shown = examples(PAGE)
    assert len(shown) >= 14
    for example in shown:
        assert alike(_run(example, service, folder), example.answer), example.command


def _run(example: Example, service: TouredService, folder: Path) -> Any:
    command = example.command.replace("http://127.0.0.1:8000", service.photos.url(""))
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "S": service.address("")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer = ran.stdout.replace(service.photos.url(""), "http://127.0.0.1:8000")
    return None if example.answer is None else json.loads(answer)
