"""Draw what is printed on packaging: an icon, a wordmark, or both, in a palette, perhaps on a plate.

A label is drawn once and photographed several times (`photographs`). The words are invented and the fonts are open, so
there are as many wordmarks as training needs.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training.artwork import Artwork, Gallery, RgbaImage
from training.packages import Package, PackageError, members

Colour = tuple[int, int, int]
TEXT_PIXELS = 72
LONGEST_TEXT_SIDE = 512
UPRIGHT_LATIN = re.compile(r"-latin-\d+-normal\.woff$")

ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k kn l m n p ph pl pr qu r s sc sh sl sm sp st t th tr v w x y z"
).split()
VOWELS = "a e i o u a e i o u a e i o ai au ea ee ei ie io oa oo ou y é ü ö".split()
CODAS = ["", "", "", "", *"b ck d l ll m n nd ng nt p r rd rk rt s ss st t tt x z".split()]


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours that a brand prints in: its ink, the ground under it, and an accent."""

    ink: Colour
    ground: Colour
    accent: Colour


@dataclass(frozen=True, slots=True)
class Label:
    """A drawn logo. `versions` are `(h, w, 4)` uint8 images of the same logo; the first is the usual one.

    Their colours are multiplied by alpha, so that edges interpolate without a dark rim.
    """

    versions: tuple[RgbaImage, ...]
    palette: Palette


Fonts = tuple[ImageFont.FreeTypeFont, ...]


def open_fonts(packages: tuple[Package, ...], downloads: Path) -> Fonts:
    """Return the upright Latin letters of every font package, one weight of each."""
    chosen = []
    for package in packages:
        files = [content for name, content in members(package, downloads, ".woff") if UPRIGHT_LATIN.search(name)]
        if not files:
            raise PackageError(f"{package.name} {package.version} has no upright Latin font: remove it from the table")
        chosen.append(ImageFont.truetype(io.BytesIO(files[-1]), TEXT_PIXELS))
    return tuple(chosen)


class LabelPainter:
    """Draws labels, with or without an icon, using one random generator."""

    def __init__(self, gallery: Gallery, fonts: Fonts, rng: np.random.Generator) -> None:
        self._gallery = gallery
        self._fonts = fonts
        self._rng = rng
        self._font = fonts[0]
        self._palette = self._new_palette()

    def icon_label(self, artworks: tuple[Artwork, ...]) -> Label:
        """Return a label that shows one class of icons, sometimes with a name beside it."""
        rng, palette = self._rng, self._next_palette()
        order = rng.permutation(len(artworks))[:2]
        drawn = [self._tinted(artworks[int(row)], palette) for row in order]
        if rng.random() < 0.25:
            name = self._wordmark(palette.ink)
            drawn = [_side_by_side(drawn[0], name, bool(rng.random() < 0.5)), *drawn]
        return self._label(drawn, palette)

    def word_label(self) -> Label:
        """Return a label that shows an invented name."""
        rng, palette = self._rng, self._next_palette()
        drawn = self._wordmark(palette.ink)
        if rng.random() < 0.25:
            drawn = _side_by_side(drawn, self._wordmark(palette.accent if rng.random() < 0.5 else palette.ink), False)
        return self._label([drawn], palette)

    def _tinted(self, artwork: Artwork, palette: Palette) -> RgbaImage:
        pixels = np.array(self._gallery.pixels(artwork))
        if artwork.tintable:
            pixels[..., :3] = palette.ink
        elif self._rng.random() < 0.1:
            pixels[..., :3] = pixels[..., self._rng.permutation(3)]
        return pixels

    def _wordmark(self, ink: Colour) -> RgbaImage:
        rng = self._rng
        if rng.random() < 0.75:  # else the font of the previous label: the font alone must not separate two names
            self._font = self._fonts[rng.integers(len(self._fonts))]
        words = " ".join(self._word() for _ in range(1 if rng.random() < 0.75 else 2))
        case = rng.random()
        text = words.upper() if case < 0.35 else words.title() if case < 0.8 else words
        if " " in text and rng.random() < 0.5:
            text = text.replace(" ", "\n")
        outline = int(rng.integers(2, 7)) if rng.random() < 0.25 else 0
        left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox(
            (0, 0), text, font=self._font, stroke_width=outline, align="center"
        )
        edge = self._colour() if outline else ink
        image = Image.new("RGBA", (max(12, int(right - left) + 2), max(12, int(bottom - top) + 2)), (*edge, 0))
        ImageDraw.Draw(image).multiline_text(
            (1 - left, 1 - top), text, font=self._font, fill=ink, stroke_width=outline, stroke_fill=edge, align="center"
        )
        pixels = np.asarray(image)
        pixels = _shrunk(pixels, LONGEST_TEXT_SIDE)
        if rng.random() < 0.3:
            pixels = _bent(pixels, float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.3, 0.3)))
        return pixels

    def _word(self) -> str:
        rng = self._rng
        syllables = int(rng.choice([1, 2, 2, 2, 3, 3, 4]))
        return "".join(
            ONSETS[rng.integers(len(ONSETS))] + VOWELS[rng.integers(len(VOWELS))] + CODAS[rng.integers(len(CODAS))]
            for _ in range(syllables)
        )[:11]

    def _label(self, drawn: list[RgbaImage], palette: Palette) -> Label:
        versions = self._on_plate(drawn, palette)
        return Label(tuple(_multiplied_by_alpha(version) for version in versions), palette)

    def _on_plate(self, drawn: list[RgbaImage], palette: Palette) -> tuple[RgbaImage, ...]:
        """Put some logos on a shape of one colour that belongs to them; most are printed without one."""
        if self._rng.random() < 0.7:
            return tuple(drawn)
        shape = ("box", "round", "oval")[self._rng.integers(3)]
        rim = palette.accent if self._rng.random() < 0.4 else None
        return tuple(_plate(pixels, palette.ground, rim, shape) for pixels in drawn)

    def _next_palette(self) -> Palette:
        # Else the palette of the previous label: colours alone must not separate two brands.
        if self._rng.random() < 0.6:
            self._palette = self._new_palette()
        return self._palette

    def _new_palette(self) -> Palette:
        while True:
            palette = Palette(self._colour(), self._colour(), self._colour())
            if abs(_lightness(palette.ink) - _lightness(palette.ground)) > 60.0:
                return palette

    def _colour(self) -> Colour:
        """Return a random colour: often white, black, or a strong red, blue, green or yellow, as on packaging."""
        kind = self._rng.random()
        if kind < 0.25:
            return (255, 255, 255)
        if kind < 0.4:
            grey = int(self._rng.integers(0, 60))
            return (grey, grey, grey)
        hue, saturation = int(self._rng.integers(0, 180)), int(self._rng.integers(90, 256))
        value = int(self._rng.integers(60, 256))
        if kind < 0.6:
            hue = int(self._rng.choice([0, 2, 178, 110, 115, 60, 25, 28]))
        red, green, blue = cv2.cvtColor(np.array([[[hue, saturation, value]]], dtype=np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
        return (int(red), int(green), int(blue))


def _multiplied_by_alpha(pixels: RgbaImage) -> RgbaImage:
    alpha = pixels[..., 3]
    colours = [cv2.multiply(pixels[..., channel], alpha, scale=1.0 / 255.0) for channel in range(3)]
    return np.asarray(cv2.merge([*colours, alpha]), dtype=np.uint8)


def _lightness(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _shrunk(pixels: RgbaImage, longest: int) -> RgbaImage:
    scale = longest / max(pixels.shape[:2])
    if scale >= 1.0:
        return pixels
    size = (max(8, round(pixels.shape[1] * scale)), max(8, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _side_by_side(first: RgbaImage, second: RgbaImage, beside: bool) -> RgbaImage:
    """Join two drawings: the second to the right, as high as the first, or below, as wide."""
    axis = 1 if beside else 0
    along, across = (first.shape[0], second.shape[0]) if beside else (first.shape[1], second.shape[1])
    scale = along / across * (0.6 if beside else 1.0)
    scale = min(scale, LONGEST_TEXT_SIDE / max(second.shape[:2]))
    size = (max(8, round(second.shape[1] * scale)), max(8, round(second.shape[0] * scale)))
    second = np.asarray(cv2.resize(second, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    gap = max(2, along // 12)
    height = max(first.shape[0], second.shape[0]) if beside else first.shape[0] + gap + second.shape[0]
    width = first.shape[1] + gap + second.shape[1] if beside else max(first.shape[1], second.shape[1])
    joined: RgbaImage = np.zeros((height, width, 4), dtype=np.uint8)
    start = 0
    for part in (first, second):
        row = start if axis == 0 else (height - part.shape[0]) // 2
        column = start if axis == 1 else (width - part.shape[1]) // 2
        joined[row : row + part.shape[0], column : column + part.shape[1]] = part
        start += part.shape[axis] + gap
    return joined


def _plate(pixels: RgbaImage, ground: Colour, rim: Colour | None, shape: str) -> RgbaImage:
    height, width = pixels.shape[:2]
    pad_y, pad_x = (round(height * 0.3), round(width * 0.25)) if shape == "oval" else (max(4, height // 6),) * 2
    plate: npt.NDArray[np.uint8] = np.zeros((height + 2 * pad_y, width + 2 * pad_x, 4), dtype=np.uint8)
    edge = max(2, min(plate.shape[:2]) // 20)
    for inset, colour in ((0, rim or ground), (edge, ground)):
        _filled(plate, shape, inset, (*colour, 255))
    alpha = pixels[..., 3:].astype(np.float32) / 255.0
    inner = plate[pad_y : pad_y + height, pad_x : pad_x + width]
    blended = inner[..., :3] * (1.0 - alpha) + pixels[..., :3] * alpha
    inner[..., :3] = blended.astype(np.uint8)
    inner[..., 3] = np.maximum(inner[..., 3], pixels[..., 3])
    return plate


def _filled(plate: npt.NDArray[np.uint8], shape: str, inset: int, colour: tuple[int, int, int, int]) -> None:
    height, width = plate.shape[:2]
    if shape == "oval":
        axes = (max(1, width // 2 - inset - 1), max(1, height // 2 - inset - 1))
        cv2.ellipse(plate, (width // 2, height // 2), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
        return
    radius = 0 if shape == "box" else max(1, min(height, width) // 4 - inset)
    low, right, bottom = inset + radius, width - 1 - inset - radius, height - 1 - inset - radius
    cv2.rectangle(plate, (low, inset), (right, height - 1 - inset), colour, -1)
    cv2.rectangle(plate, (inset, low), (width - 1 - inset, bottom), colour, -1)
    if radius:
        for x in (low, right):
            for y in (low, bottom):
                cv2.circle(plate, (x, y), radius, colour, -1, cv2.LINE_AA)


def _bent(pixels: RgbaImage, arc: float, slant: float) -> RgbaImage:
    """Bend text into an arc (in heights) and slant it (in heights per height)."""
    height, width = pixels.shape[:2]
    rise, lean = round(abs(arc) * height), round(abs(slant) * height)
    rows, columns = np.mgrid[0 : height + rise, 0 : width + lean].astype(np.float32)
    from_middle = (columns / (width + lean) * 2.0 - 1.0) ** 2
    source_row = rows - rise * (from_middle if arc > 0 else 1.0 - from_middle)
    upward = source_row / height if slant < 0 else 1.0 - source_row / height
    source_column = columns - lean * upward
    return np.asarray(
        cv2.remap(pixels, source_column.astype(np.float32), source_row.astype(np.float32), cv2.INTER_LINEAR),
        dtype=np.uint8,
    )
