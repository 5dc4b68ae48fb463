"""Draw photos of food packs on a shelf, as if taken with a phone, and return the boxes of their logos.

The same seed gives the same bytes.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from demo.brands import BRANDS, Brand
from demo.lettering import Colour, write
from demo.marked_picture import Box
from demo.packs import draw_pack

FIRST_LOGO_ID = 1001
DRAWN_AT = 2  # a photo is drawn this many times larger and then scaled down, for smooth edges
LOGOS_PER_BRAND = 4  # at least, unless that leaves fewer than two brands
SIZES = ((480, 640), (640, 480), (600, 600), (540, 720))
WALLS: tuple[Colour, ...] = ((225, 220, 210), (190, 200, 205), (235, 235, 230), (160, 150, 140), (205, 190, 165))
OTHER_PACKS: tuple[Colour, ...] = (
    (190, 60, 50),
    (60, 90, 150),
    (220, 180, 80),
    (90, 140, 90),
    (150, 110, 80),
    (120, 80, 130),
    (70, 140, 150),
)
BOARDS: tuple[Colour, ...] = ((150, 110, 70), (205, 205, 205), (90, 65, 45), (235, 230, 220))


@dataclass(frozen=True, slots=True)
class PhotographedLogo:
    """A logo on a photo, with its box `(y_min, x_min, y_max, x_max)` in fractions of height and width."""

    logo_id: int
    brand: Brand
    box: Box


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo: its file name, its JPEG bytes, and its logos."""

    name: str
    jpeg: bytes
    logos: tuple[PhotographedLogo, ...]


def make_photos(count: int, seed: int) -> Iterator[Photo]:
    """Yield photos. Every third has two logos, and all brands are about equally frequent."""
    dice = random.Random(seed)
    logo_id = FIRST_LOGO_ID
    for number, brands in enumerate(_deal_brands(dice, count)):
        picture, boxes = _take(dice, brands)
        logos = tuple(
            PhotographedLogo(logo_id + k, brand, box) for k, (brand, box) in enumerate(zip(brands, boxes, strict=True))
        )
        logo_id += len(logos)
        yield Photo(f"photo-{number:03}.jpg", _develop(dice, picture), logos)


def _deal_brands(dice: random.Random, photos: int) -> list[tuple[Brand, ...]]:
    """Distribute the brands over the photos at random, never the same brand twice on a photo."""
    on_photo = [2 if number % 3 == 2 else 1 for number in range(photos)]
    brands = BRANDS[: max(2, sum(on_photo) // LOGOS_PER_BRAND)]
    deck: list[Brand] = []
    hands: list[tuple[Brand, ...]] = []
    for size in on_photo:
        hand: list[Brand] = []
        while len(hand) < size:
            if all(brand in hand for brand in deck):
                deck.extend(dice.sample(brands, len(brands)))
            hand.append(deck.pop(next(k for k, brand in enumerate(deck) if brand not in hand)))
        hands.append(tuple(hand))
    return hands


def _take(dice: random.Random, brands: tuple[Brand, ...]) -> tuple[Image.Image, list[Box]]:
    """Draw packs with the logos of some brands on a shelf, and return the picture and the boxes."""
    width, height = (DRAWN_AT * side for side in dice.choice(SIZES))
    floor = round(height * dice.uniform(0.86, 0.95))
    picture = _shelf(dice, (width, height), floor)
    logos = [brand.logo() for brand in brands]
    side_by_side = len(logos) == 2 and width >= height
    groups = [[logo] for logo in logos] if side_by_side else [logos]
    boxes: list[Box] = []
    for place, group in enumerate(groups):
        tall = height * (dice.uniform(0.5, 0.62) if side_by_side else dice.uniform(0.58, 0.7))
        pack = draw_pack(dice, round(tall), group).shrunk_into(width / len(groups) * 0.94, floor * 0.97)
        pack = pack.tilted(dice.uniform(-4, 4))
        slack = width / len(groups) - pack.picture.width
        left = round(width / len(groups) * place + slack * dice.uniform(0.25, 0.75))
        top = floor - pack.picture.height + round(height * 0.03)
        _cast_shadow(picture, pack.picture, (left, top))
        picture.paste(pack.picture, (left, top), pack.picture)
        boxes.extend(pack.boxes(picture.size, (left, top)))
    return picture.resize((width // DRAWN_AT, height // DRAWN_AT), Image.Resampling.BOX), boxes


def _shelf(dice: random.Random, size: tuple[int, int], floor: int) -> Image.Image:
    """Draw the background: a wall, blurred packs on both sides, and the shelf, sometimes with a price tag."""
    width, height = size
    wall, board = dice.choice(WALLS), dice.choice(BOARDS)
    small = Image.new("RGB", (width // 8, height // 8), wall)  # enlarged below, because it is blurred anyway
    draw = ImageDraw.Draw(small)
    x = -small.width * dice.uniform(0.0, 0.15)
    while dice.random() < 0.9 and x < small.width:
        wide, top = small.width * dice.uniform(0.12, 0.22), floor / 8 * dice.uniform(0.2, 0.55)
        draw.rectangle((x, top, x + wide, floor / 8), fill=dice.choice(OTHER_PACKS))
        draw.rectangle((x, top + wide * 0.4, x + wide, top + wide * 0.8), fill=(238, 236, 228))
        x += wide + small.width * dice.uniform(0.005, 0.04)
    picture = small.filter(ImageFilter.GaussianBlur(2)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, floor, width, height), fill=board)
    draw.line((0, floor, width, floor), fill=(board[0] * 7 // 10, board[1] * 7 // 10, board[2] * 7 // 10), width=5)
    if dice.random() < 0.6:
        tag = (height - floor) * 0.55
        left, top = width * dice.uniform(0.1, 0.7), floor + (height - floor) * 0.35
        draw.rectangle((left, top, left + 2.6 * tag, top + tag), fill=(255, 240, 120))
        price = f"{dice.randint(0, 6)}.{dice.choice((29, 49, 79, 99))}"
        write(picture, (left + 1.3 * tag, top + tag / 2), price, tag * 0.8, (30, 30, 30), weight=0.04)
    return picture


def _cast_shadow(picture: Image.Image, pack: Image.Image, at: tuple[int, int]) -> None:
    reach = pack.width // 20
    shadow = Image.new("L", (pack.width + 4 * reach, pack.height + 4 * reach))
    shadow.paste(pack.getchannel("A").point([value // 2 for value in range(256)]), (2 * reach, 2 * reach))
    shadow = shadow.filter(ImageFilter.BoxBlur(reach))
    picture.paste((20, 15, 10), (at[0] - reach, at[1] - reach), shadow)


def _develop(dice: random.Random, picture: Image.Image) -> bytes:
    """Add the effects of a phone camera: uneven light, exposure, blur, grain, JPEG."""
    light = Image.linear_gradient("L").point([value * 90 // 255 + 165 for value in range(256)])
    light = light.rotate(dice.choice((0, 90, 180, 270))).resize(picture.size).convert("RGB")
    picture = ImageChops.multiply(picture, light)
    picture = ImageEnhance.Brightness(picture).enhance(dice.uniform(0.85, 1.3))
    picture = ImageEnhance.Color(picture).enhance(dice.uniform(0.75, 1.1))
    picture = picture.filter(ImageFilter.GaussianBlur(dice.choice((0.0, 0.4, 0.8, 1.2))))
    grain = Image.frombytes("L", picture.size, dice.randbytes(picture.width * picture.height)).convert("RGB")
    picture = Image.blend(picture, grain, dice.uniform(0.01, 0.04))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=dice.randint(55, 92))
    return buffer.getvalue()
