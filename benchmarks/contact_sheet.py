"""Contact sheets: queries and the logos found nearest to them, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

SIDE = 120  # pixels that a crop is fitted into
FRAME = 4
GAP = 6
CAPTION = 18
FONT_SIZE = 12

QUERY, RIGHT, WRONG = "#777777", "#1a9641", "#d7191c"
PAPER, INK = "#ffffff", "#000000"


@dataclass(frozen=True, slots=True)
class Tile:
    """One crop in its frame.

    Attributes:
        crop: of any size.
        caption: the text below; cut off where the next tile begins.
        frame: the colour of the frame, one of `QUERY`, `RIGHT` and `WRONG`.
    """

    crop: Image.Image
    caption: str
    frame: str


def draw(rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """Draw each row of tiles below the previous one; rows may differ in length."""
    width, height = SIDE + 2 * FRAME + GAP, SIDE + 2 * FRAME + CAPTION
    sheet = Image.new("RGB", (width * max(map(len, rows), default=1) + GAP, height * max(len(rows), 1)), PAPER)
    for line, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(_draw(tile), (GAP + column * width, line * height))
    return sheet


def _draw(tile: Tile) -> Image.Image:
    side = SIDE + 2 * FRAME
    drawn = Image.new("RGB", (side, side + CAPTION), PAPER)
    drawn.paste(tile.frame, (0, 0, side, side))
    drawn.paste(ImageOps.pad(tile.crop.convert("RGB"), (SIDE, SIDE), color=PAPER), (FRAME, FRAME))
    ImageDraw.Draw(drawn).text((0, side + 1), tile.caption, INK, ImageFont.load_default(FONT_SIZE))
    return drawn
