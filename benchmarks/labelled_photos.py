"""Photos with labelled logos, and their crops, cut out as in serving.

The folder holds `logos.jsonl`, one `{"logo_id", "photo", "brand", "bounding_box"}` a line, and `photos/`. A box is
`(y_min, x_min, y_max, x_max)` in fractions of height and width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from embeddings.errors import ImageError
from embeddings.images.decode import BoundingBox, crop_logo, decode_rgb
from settings import Settings

MAX_PIXELS = Settings().images.max_pixels


class FolderError(click.ClickException):
    """The folder has another form; a command ends with this message."""


@dataclass(frozen=True, slots=True)
class Logo:
    """A line of `logos.jsonl`."""

    logo_id: int
    photo: str
    brand: str
    box: BoundingBox


@dataclass(frozen=True, slots=True)
class LabelledPhotos:
    """The logos of a folder, and its path."""

    folder: Path
    logos: tuple[Logo, ...]

    @classmethod
    def read(cls, folder: Path, brands: Iterable[str] = ()) -> LabelledPhotos:
        """Read the list of logos.

        Args:
            folder: in the form that this module describes.
            brands: the brands to keep; all, if none is given.

        Raises:
            FolderError: the folder has another form, or no logo of one of the brands.
        """
        path = folder / "logos.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FolderError(f"{path} cannot be read: give a folder that holds logos.jsonl and photos/") from error
        logos = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
        there = {logo.brand for logo in logos}
        wanted = set(brands) or there
        if not wanted <= there:
            raise FolderError(f"no logo of {_listed(wanted - there)} in {path}: it has {_listed(there)}")
        missing = {logo.photo for logo in logos if not (folder / "photos" / logo.photo).is_file()}
        if missing:
            raise FolderError(f"{len(missing)} photos of {path} are not in {folder / 'photos'}: {min(missing)} is one")
        return cls(folder, tuple(logo for logo in logos if logo.brand in wanted))

    @property
    def brands(self) -> list[str]:
        """The brand of each logo."""
        return [logo.brand for logo in self.logos]

    @property
    def photos(self) -> list[str]:
        """The photo of each logo."""
        return [logo.photo for logo in self.logos]

    def crops(self, progress: Callable[[int], None] = lambda _rows: None) -> Iterator[Image.Image]:
        """Yield each logo cut out in turn; only one photo is in memory.

        Raises:
            FolderError: a photo cannot be decoded, or a box selects nothing of it.
        """
        name, photo = None, None
        for logo in self.logos:
            if photo is None or logo.photo != name:
                name, photo = logo.photo, self._decode(logo)
            yield _cut_out(photo, logo)
            progress(1)

    def crop(self, row: int) -> Image.Image:
        """Return one logo cut out.

        Raises:
            FolderError: as for `crops`.
        """
        logo = self.logos[row]
        return _cut_out(self._decode(logo), logo)

    def _decode(self, logo: Logo) -> Image.Image:
        path = self.folder / "photos" / logo.photo
        try:
            return decode_rgb(path.read_bytes(), max_pixels=MAX_PIXELS)
        except (OSError, ImageError) as error:
            raise FolderError(f"{path}: {error}") from error


def _cut_out(photo: Image.Image, logo: Logo) -> Image.Image:
    try:
        return crop_logo(photo, logo.box, logo_id=logo.logo_id, max_pixels=MAX_PIXELS)
    except ImageError as error:
        raise FolderError(f"{logo.photo}: {error}") from error


def _parse(line: str, where: str) -> Logo:
    try:
        fields = json.loads(line)
        y_min, x_min, y_max, x_max = map(float, fields["bounding_box"])
        return Logo(int(fields["logo_id"]), str(fields["photo"]), str(fields["brand"]), (y_min, x_min, y_max, x_max))
    except (ValueError, TypeError, KeyError) as error:
        raise FolderError(
            f"{where} is not an object of logo_id, photo, brand and a bounding_box of four numbers: {error!r}"
        ) from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
