"""Food packs with logos on them: cartons, pouches, jars and bottles, each with a printed front.

A pack is a printed front, with the outline and the shading of its shape.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageStat

from demo.fronts import LITRES, Product, darker, print_front
from demo.lettering import Colour
from demo.marked_picture import MarkedPicture


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape of pack: how a front becomes a pack, the width of the front relative to its height, and the products."""

    fold: Callable[[random.Random, MarkedPicture], MarkedPicture]
    width: float
    products: tuple[Product, ...]


def draw_pack(dice: random.Random, height: int, logos: Sequence[Image.Image]) -> MarkedPicture:
    """Draw a pack with one or two logos (RGBA); its front has the given height in pixels."""
    shape = dice.choice(SHAPES)
    front = print_front(dice, (round(height * shape.width), height), dice.choice(shape.products), logos)
    return shape.fold(dice, front)


def _carton(dice: random.Random, front: MarkedPicture) -> MarkedPicture:
    """Turn the front into a carton, with a darker, foreshortened side."""
    width, height = front.picture.size
    depth, lift = round(width * dice.uniform(0.1, 0.2)), round(height * 0.03)
    size = (width + depth, height)
    on_the_left = dice.random() < 0.5
    face = front.placed(size, (depth if on_the_left else 0, 0))
    side_colour = darker(_mean_colour(front.picture))
    seam, edge = (depth, 0) if on_the_left else (width, width + depth)
    side = [(seam, 0), (edge, lift), (edge, height - lift), (seam, height)]
    ImageDraw.Draw(face.picture).polygon(side, fill=side_colour)
    return face


def _pouch(dice: random.Random, front: MarkedPicture) -> MarkedPicture:
    """Turn the front into a foil pouch, with crimped ends and soft highlights."""
    width, height = front.picture.size
    outline = Image.new("L", front.picture.size)
    draw, bulge = ImageDraw.Draw(outline), width * 0.035
    draw.rounded_rectangle((bulge, 0, width - bulge, height), 8, fill=255)
    draw.ellipse((0, height * 0.04, width * 0.3, height * 0.96), fill=255)
    draw.ellipse((width * 0.7, height * 0.04, width, height * 0.96), fill=255)
    pen = ImageDraw.Draw(front.picture)
    for crimp in range(5):
        for y in (height * 0.008 * crimp, height * (1 - 0.008 * crimp)):
            pen.line((0, y, width, y), fill=(235, 235, 235) if crimp % 2 else (150, 150, 150), width=2)
    folds = [(0.0, 0.72), (0.12, 1.0), (0.2, 1.12), (0.5, 1.0), (0.86, 0.93), (1.0, 0.62)]
    return _lit(front, [(at, light + dice.uniform(-0.04, 0.04)) for at, light in folds]).cut(outline)


def _jar(dice: random.Random, front: MarkedPicture) -> MarkedPicture:
    """Wrap the front around a jar and put a lid on it."""
    width, height = front.picture.size
    cap = round(height * 0.11)
    lid: Colour = dice.choice(((190, 30, 40), (215, 215, 220), (225, 175, 60), (40, 60, 110)))
    size = (width, height + cap)
    tall = front.placed(size, (0, cap))
    ImageDraw.Draw(tall.picture).rectangle((0, 0, width, cap), fill=lid)
    outline = Image.new("L", size)
    draw = ImageDraw.Draw(outline)
    draw.rounded_rectangle((width * 0.06, 0, width * 0.94, cap * 1.1), 10, fill=255)
    draw.rounded_rectangle((0, cap, width, size[1]), width * 0.09, fill=255)
    return _lit(tall, [(0, 0.5), (0.18, 1.05), (0.26, 1.22), (0.36, 1.02), (0.7, 0.95), (1, 0.45)]).cut(outline)


def _bottle(dice: random.Random, front: MarkedPicture) -> MarkedPicture:
    """Wrap the front around a bottle, under shoulders, a neck and a cap."""
    width, height = front.picture.size
    neck = round(height * dice.uniform(0.22, 0.3))
    glass: Colour = dice.choice(((60, 110, 60), (150, 90, 40), (215, 225, 230), (235, 235, 235)))
    cap: Colour = dice.choice(((30, 90, 180), (210, 40, 40), (240, 240, 240), (30, 30, 30)))
    size = (width, height + neck)
    tall = front.placed(size, (0, neck))
    pen = ImageDraw.Draw(tall.picture)
    pen.rectangle((0, 0, width, neck), fill=glass)
    pen.rectangle((0, 0, width, neck * 0.3), fill=cap)
    pen.rectangle((0, size[1] - height * 0.05, width, size[1]), fill=glass)
    outline = Image.new("L", size)
    draw = ImageDraw.Draw(outline)
    draw.rounded_rectangle((width * 0.34, 0, width * 0.66, neck), 8, fill=255)
    draw.rounded_rectangle((0, neck * 0.62, width, size[1]), width * 0.2, fill=255)
    return _lit(tall, [(0, 0.45), (0.2, 1.0), (0.28, 1.2), (0.38, 1.0), (0.75, 0.9), (1, 0.4)]).cut(outline)


def _lit(pack: MarkedPicture, lights: Sequence[tuple[float, float]]) -> MarkedPicture:
    """Shade a pack from left to right. `lights` are (fraction of the width, brightness); 1.0 changes nothing."""
    picture, half = pack.picture.convert("RGB"), Image.new("L", (256, 1))
    for x in range(256):
        at = x / 255
        (x0, y0), (x1, y1) = next((a, b) for a, b in itertools.pairwise(lights) if at <= b[0])
        half.putpixel((x, 0), round(127 * (y0 + (y1 - y0) * (at - x0) / (x1 - x0))))
    shade = half.resize(picture.size, Image.Resampling.BILINEAR).convert("RGB")
    dimmed = ImageChops.multiply(picture, shade)  # halved, so that highlights fit into a byte
    return MarkedPicture(ImageChops.add(dimmed, dimmed).convert("RGBA"), pack.masks)


def _mean_colour(picture: Image.Image) -> Colour:
    red, green, blue = ImageStat.Stat(picture.convert("RGB")).mean
    return round(red), round(green), round(blue)


CARTON = Shape(
    _carton,
    0.72,
    (
        Product("CRUNCHY MUESLI", "oats & berries", (225, 190, 120)),
        Product("GREEN TEA", "with jasmine", (120, 160, 50)),
        Product("BUTTER COOKIES", "grandma's recipe", (215, 160, 90)),
        Product("RED LENTILS", "ready in 10 minutes", (225, 110, 60)),
    ),
)
POUCH = Shape(
    _pouch,
    0.74,
    (
        Product("CHILI CRISPS", "extra hot", (215, 60, 35)),
        Product("DARK CHOCOLATE", "72 % cocoa", (95, 55, 30)),
        Product("FUSILLI", "durum wheat", (240, 205, 110)),
        Product("DRIED CHERRIES", "no added sugar", (190, 40, 60)),
    ),
)
JAR = Shape(
    _jar,
    0.78,
    (
        Product("PEANUT BUTTER", "smooth", (190, 130, 70)),
        Product("APRICOT JAM", "60 % fruit", (240, 150, 40)),
        Product("CHICK PEAS", "in brine", (225, 190, 120)),
        Product("TOMATO SAUCE", "with basil", (215, 60, 35)),
    ),
)
BOTTLE = Shape(
    _bottle,
    0.62,
    (
        Product("ORANGE JUICE", "no added sugar", (240, 150, 40), LITRES),
        Product("OAT DRINK", "with calcium", (225, 190, 120), LITRES),
        Product("ICED TEA", "peach", (225, 140, 80), LITRES),
        Product("CHERRY NECTAR", "50 % fruit", (190, 40, 60), LITRES),
    ),
)
SHAPES = (CARTON, POUCH, JAR, BOTTLE)
