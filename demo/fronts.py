"""Draw the front of a pack: a pattern, the content, words, a bar code, and the logos."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from demo.lettering import Colour, fitted_size, write
from demo.marked_picture import MarkedPicture

GRAMS = ("250 g", "400 g", "500 g", "750 g", "1 kg")
LITRES = ("330 ml", "750 ml", "1 L", "1.5 L")


@dataclass(frozen=True, slots=True)
class Product:
    """A product: the words on its pack, the colour of its content, and the amounts that it is sold in."""

    name: str
    detail: str
    colour: Colour
    amounts: tuple[str, ...] = GRAMS


def print_front(
    dice: random.Random, size: tuple[int, int], product: Product, logos: Sequence[Image.Image]
) -> MarkedPicture:
    """Draw the flat front of a pack. `size` is (width, height) in pixels; `logos` are one or two RGBA pictures."""
    width, height = size
    hue = dice.random()
    ground = _tone(hue, dice.choice((0.08, 0.2, 0.45, 0.7)), dice.uniform(0.75, 0.97))
    accent = _tone(hue + dice.choice((0.0, 0.08, 0.5)), dice.uniform(0.45, 0.8), dice.uniform(0.5, 0.9))
    picture = Image.new("RGBA", size, ground)
    dice.choice((_bands, _rays, _dots, _swoosh))(dice, ImageDraw.Draw(picture), size, accent)
    logo_first = dice.random() < 0.65
    _content(dice, picture, (width * dice.uniform(0.4, 0.6), height * 0.68), product.colour)
    _words(dice, picture, height * (0.46 if logo_first else 0.12), product, accent)
    _small_print(dice, picture, dice.choice(product.amounts))
    slots = (
        _Slot(0.5, 0.23 if logo_first else 0.41, dice.uniform(0.5, 0.86), 0.29),
        _Slot(0.3, 0.85, dice.uniform(0.3, 0.42), 0.2),
    )
    masks = tuple(_print_logo(dice, picture, logo, slot) for logo, slot in zip(logos, slots, strict=False))
    return MarkedPicture(picture, masks)


def darker(colour: Colour) -> Colour:
    """Return a darker shade of a colour."""
    return colour[0] * 6 // 10, colour[1] * 6 // 10, colour[2] * 6 // 10


@dataclass(frozen=True, slots=True)
class _Slot:
    """The place for a logo: its centre and largest size, in fractions of the front's width and height."""

    x: float
    y: float
    width: float
    height: float


def _print_logo(dice: random.Random, picture: Image.Image, logo: Image.Image, slot: _Slot) -> Image.Image:
    """Draw a slightly rotated logo onto a picture, and return its mask."""
    width, height = picture.size
    scale = min(slot.width * width / logo.width, slot.height * height / logo.height)
    size = (round(logo.width * scale), round(logo.height * scale))
    logo = logo.resize(size, Image.Resampling.LANCZOS)
    logo = logo.rotate(dice.uniform(-7, 7), Image.Resampling.BICUBIC, expand=True)
    x = width * (slot.x + dice.uniform(-0.05, 0.05)) - logo.width / 2
    at = (max(0, round(x)), max(0, round(height * slot.y - logo.height / 2)))
    picture.alpha_composite(logo, at)
    mask = Image.new("L", picture.size)
    mask.paste(logo.getchannel("A"), at)
    return mask


def _bands(dice: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour) -> None:
    width, height = size
    for _ in range(dice.randint(2, 4)):
        top = height * dice.random()
        draw.rectangle((0, top, width, top + height * dice.uniform(0.02, 0.13)), fill=colour)


def _rays(dice: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour) -> None:
    width, height = size
    radius, start = width + height, dice.uniform(0, 30)
    box = (width / 2 - radius, height * 0.7 - radius, width / 2 + radius, height * 0.7 + radius)
    for k in range(12):
        draw.pieslice(box, start + 30 * k, start + 30 * k + 12, fill=colour)


def _dots(dice: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour) -> None:
    width, height = size
    step = width * dice.uniform(0.1, 0.2)
    for row in range(int(height / step) + 2):
        for column in range(int(width / step) + 2):
            draw.circle(((column + row % 2 / 2) * step, row * step), step * 0.2, fill=colour)


def _swoosh(dice: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour) -> None:
    width, height = size
    drop = height * dice.uniform(0.45, 0.65)
    draw.ellipse((-width * 0.8, drop, width * 1.3, drop + height * 1.2), fill=colour)
    draw.ellipse((-width * 0.5, drop + height * 0.07, width * 1.6, drop + height * 1.3), fill=_lighter(colour))


def _content(dice: random.Random, picture: Image.Image, centre: tuple[float, float], colour: Colour) -> None:
    """Draw a heap of the content, sometimes in a bowl."""
    draw, unit = ImageDraw.Draw(picture), picture.width * 0.07
    x, y = centre
    if dice.random() < 0.5:
        draw.pieslice((x - 4 * unit, y - 3 * unit, x + 4 * unit, y + 3.4 * unit), 0, 180, fill=(250, 250, 245))
        draw.ellipse((x - 4 * unit, y - unit, x + 4 * unit, y + unit), fill=darker(colour))
    for _ in range(14):
        left, top = x + unit * dice.uniform(-3.2, 2.2), y + unit * dice.uniform(-1.2, 0.1)
        radius = unit * dice.uniform(0.4, 0.8)
        draw.ellipse((left, top, left + 2 * radius, top + 1.7 * radius), fill=colour, outline=darker(colour), width=2)


def _words(dice: random.Random, picture: Image.Image, middle: float, product: Product, accent: Colour) -> None:
    width, height = picture.size
    ink: Colour = (40, 30, 30)
    size = fitted_size(product.name, width * 0.84, height * 0.07)
    if dice.random() < 0.75:
        plate = (width * 0.04, middle - size * 0.8, width * 0.96, middle + size * 2.1)
        ImageDraw.Draw(picture).rounded_rectangle(plate, size * 0.4, fill=darker(accent))
        ink = (255, 255, 255)
    write(picture, (width / 2, middle), product.name, size, ink, weight=0.04)
    write(picture, (width / 2, middle + size * 1.25), product.detail, size * 0.7, ink, slant=dice.choice((0.0, 0.2)))


def _small_print(dice: random.Random, picture: Image.Image, amount: str) -> None:
    """Draw the amount, and a bar code or lines of ingredients, at the lower edge."""
    width, height = picture.size
    draw, unit = ImageDraw.Draw(picture), width * 0.01
    write(picture, (width * 0.8, height * 0.925), amount, height * 0.035, (30, 30, 30), weight=0.03)
    left, top = width * 0.66, height * 0.8
    if dice.random() < 0.5:
        draw.rectangle((left, top, left + 28 * unit, top + 13 * unit), fill=(255, 255, 255))
        x = left + 2 * unit
        while x < left + 25 * unit:
            bar = unit * dice.choice((0.4, 0.7, 1.1))
            draw.rectangle((x, top + 2 * unit, x + bar, top + 11 * unit), fill=(20, 20, 20))
            x += bar + unit * dice.choice((0.6, 1.0))
    else:
        for line in range(4):
            y = top + 3 * unit * line
            draw.rectangle((left, y, left + unit * dice.uniform(15, 28), y + unit), fill=(60, 55, 55))


def _lighter(colour: Colour) -> Colour:
    return (colour[0] + 255) // 2, (colour[1] + 255) // 2, (colour[2] + 255) // 2


def _tone(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
