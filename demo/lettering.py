"""Draw words on logos, packs and the contact sheet, all in the font that comes with Pillow.

The font has only one weight and no italics: a stroke makes it bold, a shear makes it italic.
"""

from __future__ import annotations

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

CAPITAL_HEIGHT = 0.7  # of the font's size


def write(
    picture: Image.Image,
    centre: tuple[float, float],
    text: str,
    size: float,
    colour: Colour,
    *,
    weight: float = 0.0,
    slant: float = 0.0,
) -> None:
    """Write a line of text onto a picture, centred on a point.

    Args:
        picture: an RGB or RGBA picture; it is changed.
        centre: the middle of the text, in pixels.
        text: one line.
        size: the font's size in pixels.
        colour: the colour of the letters.
        weight: added thickness of the strokes, as a fraction of `size`; 0.04 looks bold.
        slant: how far the top leans to the right, as a fraction of the height; 0.2 looks italic.
    """
    letters = _letters(text, round(size), round(size * weight), slant)
    left, top = round(centre[0] - letters.width / 2), round(centre[1] - letters.height / 2)
    picture.paste(Image.new(picture.mode, letters.size, colour), (left, top), letters)


def write_from(
    picture: Image.Image, start: tuple[float, float], text: str, size: int, colour: Colour, *, weight: float = 0.0
) -> None:
    """Write a line of text that begins at a point, vertically centred on its capitals."""
    ImageDraw.Draw(picture).text(
        (start[0], start[1] + size * CAPITAL_HEIGHT / 2),
        text,
        fill=colour,
        font=_font(size),
        anchor="ls",
        stroke_width=size * weight,
    )


def fitted_size(text: str, width: float, height: float) -> float:
    """Return the largest font size at which a line of text fits into a box of `width` x `height` pixels."""
    return min(height, 100 * width / max(1.0, _font(100).getlength(text)))


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(max(1, size))
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OSError("Pillow was built without FreeType, so it cannot draw letters: install its official wheel")
    return font


def _letters(text: str, size: int, stroke: int, slant: float) -> Image.Image:
    """Draw the text as an opacity mask, cropped to its letters."""
    font = _font(size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    width, height = round(right - left), round(bottom - top)
    lean = round(abs(slant) * height)
    mask = Image.new("L", (max(1, width + lean), max(1, height)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font, stroke_width=stroke)
    if slant:
        shear = (1, slant, -slant * height if slant > 0 else 0, 0, 1, 0)
        mask = mask.transform(mask.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC)
    return mask
