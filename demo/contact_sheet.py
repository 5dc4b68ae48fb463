"""Draw the contact sheet: a row for each query, with its crop on the left and its nearest neighbours beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from demo.lettering import Colour, write_from

PAPER: Colour = (250, 249, 246)
INK: Colour = (38, 36, 34)
GREY: Colour = (125, 120, 115)
QUERY: Colour = (90, 90, 95)
SAME_BRAND: Colour = (46, 155, 80)
OTHER_BRAND: Colour = (214, 64, 52)

MARGIN = 36
HEADER = 112
LABEL_WIDTH = 170
CELL_WIDTH = 176
PICTURE_HEIGHT = 124
CELL_HEIGHT = PICTURE_HEIGHT + 34
GAP = 16
QUERY_GAP = 48  # between a query and its neighbours
FRAME = 5


@dataclass(frozen=True, slots=True)
class NeighbourCell:
    """A neighbour: its crop, its caption, and whether it has the brand of the query."""

    crop: Image.Image
    caption: str
    same_brand: bool


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A query: its name, a remark under the name, its crop and caption, and its neighbours, nearest first."""

    label: str
    remark: str
    crop: Image.Image
    caption: str
    neighbours: tuple[NeighbourCell, ...]


def sheet_size(rows: int, neighbours: int) -> tuple[int, int]:
    """Return the width and height in pixels of a sheet with that number of rows and of neighbours in a row."""
    width = 2 * MARGIN + LABEL_WIDTH + CELL_WIDTH + QUERY_GAP + neighbours * (CELL_WIDTH + GAP) - GAP
    return width, 2 * MARGIN + HEADER + rows * (CELL_HEIGHT + GAP) - GAP


def cell_corner(row: int, neighbour: int | None) -> tuple[int, int]:
    """Return the upper left corner of a neighbour's frame; of the query's frame if `neighbour` is `None`."""
    x = MARGIN + LABEL_WIDTH
    if neighbour is not None:
        x += CELL_WIDTH + QUERY_GAP + neighbour * (CELL_WIDTH + GAP)
    return x, MARGIN + HEADER + row * (CELL_HEIGHT + GAP)


def draw_contact_sheet(title: str, subtitle: str, rows: Sequence[QueryRow]) -> Image.Image:
    """Draw the sheet: a title, and a row for each query."""
    most = max(len(row.neighbours) for row in rows)
    sheet = Image.new("RGB", sheet_size(len(rows), most), PAPER)
    write_from(sheet, (MARGIN, MARGIN + 14), title, 32, INK, weight=0.025)
    write_from(sheet, (MARGIN, MARGIN + 52), subtitle, 18, GREY)
    _draw_column_heads(sheet)
    for number, row in enumerate(rows):
        _draw_row(sheet, number, row)
    return sheet


def _draw_column_heads(sheet: Image.Image) -> None:
    draw = ImageDraw.Draw(sheet)
    middle = MARGIN + HEADER - 18
    write_from(sheet, (cell_corner(0, None)[0], middle), "query", 17, QUERY, weight=0.03)
    x = cell_corner(0, 0)[0]
    for colour, text, room in ((INK, "nearest first", 150), (SAME_BRAND, "same brand", 140), (OTHER_BRAND, "other", 0)):
        if colour != INK:
            draw.rectangle((x, middle - 7, x + 14, middle + 7), outline=colour, width=4)
        write_from(sheet, (x + (0 if colour == INK else 24), middle), text, 17, QUERY, weight=0.03)
        x += room


def _draw_row(sheet: Image.Image, number: int, row: QueryRow) -> None:
    draw = ImageDraw.Draw(sheet)
    top = cell_corner(number, None)[1]
    line = top - GAP // 2
    if number:
        draw.line((MARGIN, line, sheet.width - MARGIN, line), fill=(228, 224, 218))
    write_from(sheet, (MARGIN, top + PICTURE_HEIGHT // 2 - 14), row.label, 25, INK, weight=0.03)
    write_from(sheet, (MARGIN, top + PICTURE_HEIGHT // 2 + 16), row.remark, 16, GREY)
    _draw_cell(sheet, cell_corner(number, None), row.crop, row.caption, QUERY)
    for place, cell in enumerate(row.neighbours):
        colour = SAME_BRAND if cell.same_brand else OTHER_BRAND
        _draw_cell(sheet, cell_corner(number, place), cell.crop, cell.caption, colour)


def _draw_cell(sheet: Image.Image, corner: tuple[int, int], crop: Image.Image, caption: str, colour: Colour) -> None:
    x, y = corner
    room = (CELL_WIDTH - 4 * FRAME, PICTURE_HEIGHT - 4 * FRAME)
    scale = min(room[0] / crop.width, room[1] / crop.height)
    size = (max(1, round(crop.width * scale)), max(1, round(crop.height * scale)))
    frame = (x, y, x + CELL_WIDTH - 1, y + PICTURE_HEIGHT - 1)
    ImageDraw.Draw(sheet).rectangle(frame, fill=(255, 255, 255), outline=colour, width=FRAME)
    fitted = crop.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(fitted, (x + (CELL_WIDTH - size[0]) // 2, y + (PICTURE_HEIGHT - size[1]) // 2))
    write_from(sheet, (x + 2, y + PICTURE_HEIGHT + 16), caption, 16, INK)
