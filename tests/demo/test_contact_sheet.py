from __future__ import annotations

from PIL import Image

from demo.contact_sheet import (
    CELL_WIDTH,
    OTHER_BRAND,
    PAPER,
    PICTURE_HEIGHT,
    QUERY,
    SAME_BRAND,
    NeighbourCell,
    QueryRow,
    cell_corner,
    draw_contact_sheet,
    sheet_size,
)

BLUE = (10, 20, 250)
PINK = (250, 120, 180)


def a_row(*same_brand: bool, size: tuple[int, int] = (60, 40)) -> QueryRow:
    cells = tuple(NeighbourCell(Image.new("RGB", size, PINK), "1.25  Pink", same) for same in same_brand)
    return QueryRow("Blue", "1 of 2 found", Image.new("RGB", size, BLUE), "logo 7", cells)


def test_sheet_has_room_for_every_row_and_neighbour() -> None:
    small = draw_contact_sheet("title", "subtitle", [a_row(True, False)])
    large = draw_contact_sheet("title", "subtitle", [a_row(True, False, True)] * 4)
    assert small.size == sheet_size(1, 2)
    assert large.size == sheet_size(4, 3)
    assert large.width > small.width
    assert large.height > small.height
    right, bottom = cell_corner(3, 2)
    assert right + CELL_WIDTH < large.width
    assert bottom + PICTURE_HEIGHT < large.height


def test_colour_of_a_frame_shows_whether_the_brand_is_the_same() -> None:
    sheet = draw_contact_sheet("title", "subtitle", [a_row(True, False), a_row(False, True)])
    assert sheet.getpixel(cell_corner(0, None)) == QUERY
    assert sheet.getpixel(cell_corner(0, 0)) == sheet.getpixel(cell_corner(1, 1)) == SAME_BRAND
    assert sheet.getpixel(cell_corner(0, 1)) == sheet.getpixel(cell_corner(1, 0)) == OTHER_BRAND


def test_crops_of_any_shape_fit_into_their_frames() -> None:
    for size in ((600, 40), (40, 600), (1, 1), (3000, 60)):
        sheet = draw_contact_sheet("title", "subtitle", [a_row(True, size=size)])
        x, y = cell_corner(0, 0)
        centre = (x + CELL_WIDTH // 2, y + PICTURE_HEIGHT // 2)
        assert sheet.getpixel(centre) == PINK
        edge = sheet.crop((x, y, x + CELL_WIDTH, y + PICTURE_HEIGHT))
        assert {edge.getpixel((k, 0)) for k in range(CELL_WIDTH)} == {SAME_BRAND}
        assert {edge.getpixel((0, k)) for k in range(PICTURE_HEIGHT)} == {SAME_BRAND}


def test_caption_is_below_its_picture() -> None:
    sheet = draw_contact_sheet("title", "subtitle", [a_row(True)])
    x, y = cell_corner(0, 0)
    below = sheet.crop((x, y + PICTURE_HEIGHT, x + CELL_WIDTH, y + PICTURE_HEIGHT + 30))
    assert below.getpixel((CELL_WIDTH - 1, 0)) == PAPER
    assert len(below.getcolors(10_000) or []) > 1


def test_query_without_neighbours_is_shown() -> None:
    sheet = draw_contact_sheet("title", "subtitle", [a_row()])
    assert sheet.size == sheet_size(1, 0)
    assert sheet.getpixel(cell_corner(0, None)) == QUERY
