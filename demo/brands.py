"""Ten invented brands and their logos, drawn from shapes and letters.

`Brand.logo()` draws larger than any photo needs, so logos are only scaled down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from demo.lettering import Colour, write

WHITE: Colour = (255, 255, 255)
CREAM: Colour = (255, 246, 224)
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Brand:
    """A brand: its name, its main colour, the size of its logo in pixels, and the function that paints it."""

    name: str
    colour: Colour
    size: tuple[int, int]
    paint: Callable[[Image.Image, Colour], None]

    def logo(self) -> Image.Image:
        """Draw the logo as an RGBA picture of `size` pixels, transparent outside its outline."""
        picture = Image.new("RGBA", self.size)
        self.paint(picture, self.colour)
        return picture


def _halmora(picture: Image.Image, red: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    draw.ellipse((0, 0, 799, 439), fill=red)
    draw.ellipse((28, 26, 771, 413), outline=CREAM, width=14)
    write(picture, (400, 212), "Halmora", 165, CREAM, weight=0.03, slant=0.22)
    draw.line((190, 322, 610, 322), fill=CREAM, width=10)


def _trivana(picture: Image.Image, blue: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    draw.polygon(_ring((330, 330), 330, 6, turn=0.5), fill=blue)
    draw.polygon(_ring((330, 330), 285, 6, turn=0.5), outline=WHITE, width=12)
    for corner, shade in zip(_ring((330, 235), 78, 3), (WHITE, (160, 210, 255), (90, 170, 250)), strict=True):
        draw.polygon(_ring(corner, 72, 3), fill=shade)
    write(picture, (330, 425), "TRIVANA", 92, WHITE, weight=0.045)


def _okapo(picture: Image.Image, green: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    draw.ellipse((0, 0, 599, 599), fill=WHITE, outline=green, width=34)
    for turn in (-42, 42):
        leaf = Image.new("RGBA", (150, 300))
        pen = ImageDraw.Draw(leaf)
        pen.polygon(_leaf(150, 300), fill=green if turn < 0 else (140, 200, 60))
        pen.line((75, 40, 75, 296), fill=WHITE, width=8)
        leaf = leaf.rotate(-turn, Image.Resampling.BICUBIC, expand=True)
        picture.alpha_composite(leaf, (300 - leaf.width // 2 + turn * 5 // 2, 78))
    write(picture, (300, 425), "okapo", 130, green, weight=0.045)


def _brindel(picture: Image.Image, yellow: Colour) -> None:
    ink = (35, 30, 30)
    draw = ImageDraw.Draw(picture)
    shield = [(60, 0), (540, 0), (540, 340), (500, 480), (300, 640), (100, 480), (60, 340)]
    draw.polygon(shield, fill=yellow)
    draw.line([*shield, shield[0]], fill=ink, width=22, joint="curve")
    write(picture, (300, 165), "B", 250, ink, weight=0.05)
    draw.polygon([(0, 300), (600, 300), (560, 375), (600, 450), (0, 450), (40, 375)], fill=ink)
    write(picture, (300, 375), "BRINDEL", 102, yellow, weight=0.03)
    draw.regular_polygon((300, 525, 42), 5, fill=ink)


def _nuvik(picture: Image.Image, navy: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, 879, 339), 60, fill=navy)
    draw.ellipse((50, 60, 270, 280), fill=(250, 130, 30))
    draw.rectangle((50, 175, 270, 190), fill=navy)
    draw.rectangle((50, 212, 270, 232), fill=navy)
    draw.rectangle((50, 250, 270, 280), fill=navy)
    write(picture, (575, 170), "NUVIK", 180, WHITE, weight=0.045)


def _solvetto(picture: Image.Image, orange: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    rays = [point for k in range(16) for point in (_spoke((350, 300), 300, k), _spoke((350, 300), 205, k + 0.5))]
    draw.polygon(rays, fill=orange)
    draw.ellipse((165, 115, 535, 485), fill=(255, 214, 60))
    draw.rounded_rectangle((0, 330, 699, 520), 95, fill=(120, 30, 20))
    write(picture, (350, 425), "Solvetto", 140, (255, 225, 120), weight=0.035, slant=0.15)


def _mirabo(picture: Image.Image, purple: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    draw.ellipse((0, 0, 619, 619), fill=purple)
    draw.ellipse((130, 55, 430, 355), fill=(250, 235, 170))
    draw.ellipse((210, 35, 480, 305), fill=purple)
    for x, y, radius in ((400, 130, 52), (470, 250, 36), (330, 235, 26)):
        draw.polygon(_star((x, y), radius), fill=(250, 235, 170))
    write(picture, (310, 435), "mirabo", 140, WHITE, weight=0.03)
    draw.arc((60, 60, 559, 559), 55, 125, fill=(250, 235, 170), width=14)


def _tidelo(picture: Image.Image, teal: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, 719, 519), 150, fill=WHITE)
    draw.polygon([*_wave(230, 26, 0.0), (690, 520), (30, 520)], fill=(150, 220, 220))
    draw.polygon([*_wave(290, 26, 1.6), (690, 520), (30, 520)], fill=teal)
    draw.ellipse((235, 85, 465, 195), fill=teal)
    draw.polygon([(445, 140), (540, 80), (540, 200)], fill=teal)
    draw.ellipse((275, 118, 297, 140), fill=WHITE)
    frame = Image.new("L", picture.size)
    ImageDraw.Draw(frame).rounded_rectangle((0, 0, 719, 519), 150, fill=255)
    picture.putalpha(frame)
    draw.rounded_rectangle((12, 12, 707, 507), 140, outline=teal, width=26)
    write(picture, (360, 395), "TIDELO", 120, WHITE, weight=0.045)


def _zumra(picture: Image.Image, black: Colour) -> None:
    gold = (214, 170, 80)
    draw = ImageDraw.Draw(picture)
    draw.polygon([(450, 0), (899, 260), (450, 519), (0, 260)], fill=black)
    draw.line([(450, 40), (830, 260), (450, 480), (70, 260), (450, 40)], fill=gold, width=13, joint="curve")
    write(picture, (450, 262), "ZUMRA", 138, gold, weight=0.02)
    for y in (150, 374):
        draw.regular_polygon((450, y, 30), 4, rotation=45, fill=gold)
        draw.line((350, y, 400, y), fill=gold, width=9)
        draw.line((500, y, 550, y), fill=gold, width=9)


def _fernhof(picture: Image.Image, brown: Colour) -> None:
    draw = ImageDraw.Draw(picture)
    draw.rectangle((60, 250, 640, 560), fill=CREAM)
    draw.polygon([(350, 0), (699, 270), (0, 270)], fill=brown)
    draw.polygon([(350, 95), (500, 215), (200, 215)], fill=CREAM)
    for x in (270, 350, 430):
        draw.polygon([(x, 125), (x + 42, 215), (x - 42, 215)], fill=(60, 130, 60))
    write(picture, (350, 360), "FERNHOF", 122, brown, weight=0.05)
    draw.rectangle((60, 450, 640, 560), fill=(60, 130, 60))
    write(picture, (350, 505), "since 1911", 74, CREAM)


BRANDS = (
    Brand("Halmora", (200, 25, 40), (800, 440), _halmora),
    Brand("Trivana", (20, 95, 200), (660, 660), _trivana),
    Brand("Okapo", (30, 130, 55), (600, 600), _okapo),
    Brand("Brindel", (250, 200, 30), (600, 650), _brindel),
    Brand("Nuvik", (20, 35, 95), (880, 340), _nuvik),
    Brand("Solvetto", (240, 110, 25), (700, 610), _solvetto),
    Brand("Mirabo", (105, 45, 140), (620, 620), _mirabo),
    Brand("Tidelo", (0, 130, 140), (720, 520), _tidelo),
    Brand("Zumra", (20, 20, 24), (900, 520), _zumra),
    Brand("Fernhof", (120, 65, 35), (700, 562), _fernhof),
)


def _spoke(centre: Point, radius: float, sixteenth: float) -> Point:
    angle = math.tau * sixteenth / 16
    return centre[0] + radius * math.sin(angle), centre[1] - radius * math.cos(angle)


def _ring(centre: Point, radius: float, corners: int, turn: float = 0.0) -> list[Point]:
    """Return the corners of a regular polygon; a `turn` of 1 rotates it by one corner."""
    return [_spoke(centre, radius, 16 * (k + turn) / corners) for k in range(corners)]


def _star(centre: Point, radius: float) -> list[Point]:
    return [_spoke(centre, radius if k % 2 == 0 else radius * 0.42, 1.6 * k) for k in range(10)]


def _leaf(width: int, height: int) -> list[Point]:
    side = [(width / 2 * math.sin(math.pi * k / 20) ** 0.8, height * k / 20) for k in range(21)]
    return [(width / 2 + x, y) for x, y in side] + [(width / 2 - x, y) for x, y in reversed(side)]


def _wave(level: float, swell: float, phase: float) -> list[Point]:
    return [(30 + x, level + swell * math.sin(x / 70 + phase)) for x in range(0, 661, 10)]
