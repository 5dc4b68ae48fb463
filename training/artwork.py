"""Vector icons to pixels: every icon is rendered once, trimmed, and stored in one flat file that workers map.

Icons of one brand from several packages, or in several versions (`-wordmark`, `-original`, ...), share a class: a brand
may look like each of them on some packaging.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import resvg_py
from PIL import Image
from tqdm import tqdm

from durable import atomic_write
from training.packages import Package, members

# Every artwork has about this many pixels, whatever its shape, and no side is longer than `LONGEST_SIDE`.
AREA = 160 * 160
LONGEST_SIDE = 320
SMALLEST_SIDE = 12
VISIBLE_ALPHA = 16

# Words that say how an icon is drawn, not which brand it shows.
VARIANT_WORDS = frozenset(
    "alt badge bold classic color colored dark filled flat full horizontal icon letter light line logo logomark"
    " logotype mark mono new original plain round rounded solid square text vertical wordmark".split()
)
SKIN_TONE_WORDS = frozenset("dark light medium skin tone 1 2 3 4 5".split())
# Hundreds of near copies of one drawing: not used as classes.
FOLDERS = frozenset({"default", "folder"})
# In these packages a name is that of a brand or a country, the same in all packages.
NAMED_AFTER_OWNERS = re.compile(
    r"simple-icons|bxl|cib|devicon|fa6-brands|logos|skill-icons|vscode-icons|file-icons|material-icon-theme|catppuccin"
    r"|cryptocurrency-color|token-branded|unjs"
)

RgbaImage = npt.NDArray[np.uint8]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Artwork:
    """One rendered icon. `tintable` means that it is drawn in one ink, which may have any colour."""

    class_name: str
    package: str
    height: int
    width: int
    offset: int
    tintable: bool


class Gallery:
    """The rendered icons, mapped from disk. Read-only, cheap to open in many processes."""

    def __init__(self, folder: Path) -> None:
        self.artworks = tuple(
            Artwork(**row) for row in json.loads((folder / "artwork.json").read_text(encoding="utf-8"))
        )
        self._pixels: npt.NDArray[np.uint8] = np.memmap(folder / "artwork.bin", dtype=np.uint8, mode="r")

    def pixels(self, artwork: Artwork) -> RgbaImage:
        """Return the pixels, (height, width, 4) uint8, with colours not multiplied by alpha."""
        size = artwork.height * artwork.width * 4
        return self._pixels[artwork.offset : artwork.offset + size].reshape(artwork.height, artwork.width, 4)

    def classes(self) -> dict[str, tuple[Artwork, ...]]:
        """Return the artworks of each class, sorted by its name."""
        found: dict[str, list[Artwork]] = {}
        for artwork in self.artworks:
            found.setdefault(artwork.class_name, []).append(artwork)
        return {name: tuple(found[name]) for name in sorted(found)}


def render_gallery(packages: tuple[Package, ...], downloads: Path, folder: Path) -> None:
    """Render every icon of `packages` into `folder` (`artwork.bin`, `artwork.json`), unless it was already done.

    `packages.txt` beside them records the packages: if they change, all icons are rendered again.
    """
    drawn_from = "".join(f"{package.name} {package.version} {package.integrity}\n" for package in packages)
    record, index = folder / "packages.txt", folder / "artwork.json"
    if index.exists() and record.exists() and record.read_text(encoding="utf-8") == drawn_from:
        return
    folder.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    rows: list[dict[str, Any]] = []
    seen: set[bytes] = set()
    offset = unusable = 0
    with (folder / "artwork.bin").open("wb") as file, ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for package in packages:
            drawings = [row for row in _drawings(package, downloads) if not FOLDERS.intersection(_words(row[0])[:2])]
            images = pool.map(render, [svg for _, svg, _ in drawings], chunksize=16)
            for (name, _, tintable), image in tqdm(
                zip(drawings, images, strict=True), desc=package.name, total=len(drawings)
            ):
                content = b"" if image is None else image.tobytes()
                if image is None or content in seen:
                    unusable += 1
                    continue
                seen.add(content)
                height, width = image.shape[:2]
                rows.append(
                    {
                        "class_name": class_name(package.name, name),
                        "package": package.name,
                        "height": height,
                        "width": width,
                        "offset": offset,
                        "tintable": tintable,
                    }
                )
                offset += file.write(content)
    record.write_text(drawn_from, encoding="utf-8")
    with atomic_write(index, alone=True) as index_file:
        index_file.write(json.dumps(rows).encode())
    logger.info("%d icons rendered; %d were blank, broken, or duplicates", len(rows), unusable)


def render(svg: str) -> RgbaImage | None:
    """Render and trim an SVG to `(height, width, 4)` uint8; None if it cannot be drawn or is (nearly) invisible."""
    try:
        drawn = resvg_py.svg_to_bytes(svg_string=svg, width=LONGEST_SIDE, skip_system_fonts=True)
    except ValueError:
        return None
    with Image.open(io.BytesIO(drawn)) as image:
        rgba = image.convert("RGBA")
    box = rgba.getchannel("A").point(lambda alpha: 255 if alpha >= VISIBLE_ALPHA else 0).getbbox()
    if box is None:
        return None
    trimmed = rgba.crop(box)
    scale = min(1.0, (AREA / (trimmed.width * trimmed.height)) ** 0.5, LONGEST_SIDE / max(trimmed.size))
    size = (round(trimmed.width * scale), round(trimmed.height * scale))
    if min(size) < SMALLEST_SIDE:
        return None
    return np.asarray(trimmed.resize(size, Image.Resampling.BOX), dtype=np.uint8)


def class_name(package: str, icon: str) -> str:
    """Return the class of an icon: its owner's name if the package names owners, else the package's own icon."""
    words = _words(icon)
    named_after_owners = NAMED_AFTER_OWNERS.search(package) is not None
    endings = VARIANT_WORDS if named_after_owners else SKIN_TONE_WORDS
    while len(words) > 1 and (words[-1] in endings or (named_after_owners and words[-1].isdigit())):
        words.pop()
    return "".join(words) if named_after_owners else f"{package}:{'-'.join(words)}"


def _words(icon: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", icon.lower().removeprefix("file-type-")) if word]


def _drawings(package: Package, downloads: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield (name, SVG, whether drawn in one ink) of each icon."""
    if package.name.startswith("@iconify-json/"):
        for _, content in members(package, downloads, "icons.json"):
            collection = json.loads(content)
            for name, icon in sorted(collection["icons"].items()):
                width = icon.get("width", collection.get("width", 16))
                height = icon.get("height", collection.get("height", 16))
                box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
                yield (
                    name,
                    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>',
                    "currentColor" in icon["body"],
                )
        return
    for path, content in members(package, downloads, ".svg"):
        if path.startswith("flags/1x1/"):
            continue
        yield Path(path).stem, content.decode("utf-8"), "fill=" not in content.decode("utf-8")
