"""Invented npm packages to train on: icons that are drawn here, and the font in Pillow (Aileron, CC0)."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import ImageFont

from training.artwork import render_gallery
from training.batches import REPORTED_BRANDS, Folders, is_validation
from training.packages import Package

TRAINING_CLASSES = 12
VALIDATION_CLASSES = 60  # a run is measured on 52 of them
FONT_FILE = "files/aileron-latin-400-normal.woff"  # it is no WOFF inside: FreeType knows fonts by their content


def tgz(files: Mapping[str, bytes | str]) -> bytes:
    """Return a package as npm publishes it: a gzipped tar with everything below `package/`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def published(
    name: str, files: Mapping[str, bytes | str], *, kind: str = "icons", licence: str = "MIT", stated: str | None = None
) -> tuple[Package, bytes]:
    """Return a package and its file; `stated` is the licence in its own `package.json`."""
    content = tgz({"package.json": json.dumps({"name": name, "license": stated or licence}), **files})
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    return Package(name, "1.0.0", kind, licence, integrity), content


def svg(body: str, box: str = "0 0 24 24") -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'


def drawing(number: int, fill: str = "currentColor") -> str:
    """Return the content of an SVG of 24 by 24: a different polygon for each number."""
    points = np.random.default_rng(number).uniform(0, 24, (7, 2)).round(1)
    return f'<polygon fill="{fill}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>'


def iconify(bodies: Mapping[str, str], **size: int) -> str:
    """Return the `icons.json` of an Iconify package."""
    return json.dumps({"prefix": "made-up", "icons": {name: {"body": body} for name, body in bodies.items()}, **size})


def font_package() -> tuple[Package, bytes]:
    font = ImageFont.load_default(10)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return published("@fontsource/aileron", {FONT_FILE: font.font_bytes}, kind="font", licence="CC0-1.0")


def made_up_packages() -> tuple[tuple[Package, bytes], ...]:
    """Return enough icons for a whole run, including all reported brands, and a font."""
    names = [f"brand{number}" for number in range(4000)]
    training = [name for name in names if not is_validation(name)][:TRAINING_CLASSES]
    validation = [name for name in names if is_validation(name)][:VALIDATION_CLASSES]
    numbers = itertools.count()
    bodies = {name: drawing(next(numbers)) for name in (*training, *validation, *sorted(REPORTED_BRANDS))}
    bodies |= {f"{name}-wordmark": drawing(next(numbers), "#c03") for name in training[:4]}
    flag = svg('<rect width="12" height="24" fill="#039"/><rect x="12" width="12" height="24" fill="#fc0"/>')
    return (
        published("@iconify-json/logos", {"icons.json": iconify(bodies, width=24, height=24)}, licence="CC0-1.0"),
        published("flag-icons", {"flags/4x3/xx.svg": flag, "flags/1x1/xx.svg": svg(drawing(next(numbers)))}),
        font_package(),
    )


def write_table(path: Path, packages: Iterable[Package]) -> Path:
    path.write_text(json.dumps([asdict(package) for package in packages]))
    return path


def prepared(root: Path) -> Folders:
    """Return folders to draw crops from: the invented packages, downloaded and rendered."""
    packages = made_up_packages()
    folders = Folders.under(root, write_table(root / "table.json", [package for package, _ in packages]))
    folders.downloads.mkdir()
    for package, content in packages:
        (folders.downloads / package.file_name).write_bytes(content)
    render_gallery(
        tuple(package for package, _ in packages if package.kind == "icons"), folders.downloads, folders.artwork
    )
    return folders
