"""The map by colour: the names' colours, the legend that filters, the names of regions."""

from __future__ import annotations

import base64
import io
import itertools

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser import explored
from tests.browser.explored import Explorer
from tests.end_to_end.service import Service

# What people without one kind of cones see of linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
SEEN_WITHOUT = {
    "all cones": np.eye(3),
    "red cones": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "green cones": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "blue cones": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
CLEARLY_APART = {0.0: 25.0, 0.3: 12.0}  # CIE76 in CIELAB, of which about 2.3 is just noticeable; by the share of white


def in_lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear sRGB, (n, 3), in CIELAB with the white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(linear, 0, 1) @ to_xyz.T / [0.9505, 1.0, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def inks_on(page: Page) -> set[str]:
    """The colours of the points, as `coarse` returns them."""
    picture: str = page.evaluate("document.querySelector('.area canvas').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
    return {coarse((red, green, blue)) for red, green, blue, alpha in np.unique(pixels, axis=0).tolist() if alpha > 200}


def palette_on(page: Page) -> list[tuple[int, int, int]]:
    hexes: list[str] = page.evaluate("async () => (await import('/explorer/map_colours.js')).PALETTE")
    return [(int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)) for text in hexes]


def coarse(colour: tuple[int, int, int]) -> str:
    """The colour as `inks_on` returns it: a canvas may round what it stores."""
    return ",".join(str(part >> 3) for part in colour)


def test_the_colours_differ_for_everybody(explorer: Explorer) -> None:
    page = explorer.open("/?logo=none")
    palette = np.array(palette_on(page)) / 255
    assert len(palette) == 12
    assert page.evaluate("async () => (await import('/explorer/map_colours.js')).LIGHTER") in CLEARLY_APART
    for white, far in CLEARLY_APART.items():
        colours = palette + white * (1 - palette)
        linear = np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
        for without, matrix in SEEN_WITHOUT.items():
            seen = in_lab(linear @ matrix.T)
            apart = min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2))
            assert apart > far, (without, white)


def test_the_most_frequent_names_have_colours_and_the_legend_says_which(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    known = explored.half_of(brands)
    first = next(iter(known.values()))
    more = dict.fromkeys([i for i in brands if brands[i] == first], first)
    explored.name_logos(writable, known | more)
    page = named.open()
    legend = page.get_by_role("group", name="Show only")
    expect(legend.get_by_role("button").first).to_have_text(f"{first}{len(more)}")
    shown = legend.locator(".text").all_inner_texts()
    assert set(shown) == {*brands.values(), "no name"}
    palette = [coarse(colour) for colour in palette_on(page)]
    assert {*palette[: len(set(brands.values()))]} <= inks_on(page)
    assert palette[len(set(brands.values()))] not in inks_on(page)


def test_the_legend_filters_with_mouse_and_keyboard(named: Explorer, brands: dict[int, str]) -> None:
    page = named.open()
    palette = [coarse(colour) for colour in palette_on(page)]
    buttons = page.get_by_role("group", name="Show only").get_by_role("button")
    expect(page.locator(".map[data-painted]")).to_be_visible()
    assert {palette[0], palette[1]} <= inks_on(page)
    buttons.first.click()
    expect(buttons.first).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(100)  # a frame
    assert inks_on(page) & {*palette} == {palette[0]}
    known = explored.half_of(brands)
    name = buttons.first.locator(".text").inner_text()
    page.locator(".area").press("0")
    assert known[int(page.locator(".tip .id").inner_text())] == name  # the others cannot be pointed at
    buttons.first.press("Enter")
    expect(buttons.first).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(100)
    assert {palette[0], palette[1]} <= inks_on(page)


def test_a_logo_that_is_named_gets_its_colour(named: Explorer, writable: Service, brands: dict[int, str]) -> None:
    explored.name_logos(writable, {})
    page = named.open()
    expect(page.locator(".map")).to_have_attribute("data-painted", "21")
    expect(page.get_by_role("group", name="Show only")).to_have_count(0)
    page = named.open("/?logo=1003")
    page.locator(".grid .item").first.hover()
    page.locator(".grid .pick").first.click()
    page.get_by_label("Name for the selected logos").fill("new")
    page.get_by_role("button", name="Name it", exact=True).click()
    expect(page.locator(".selection .told")).to_contain_text("named new")
    page.locator(".home").click()
    expect(page.get_by_role("group", name="Show only")).to_contain_text("new1")


def test_regions_are_named_where_most_have_the_same_name(explorer: Explorer) -> None:
    page = explorer.open("/?logo=none")
    regions = page.evaluate(
        """async () => {
          const { regionsOf } = await import("/explorer/map_regions.js");
          const corners = [(i) => [1000 + 10 * i, 1000], (i) => [60000, 60000 + 10 * i]];
          const place = (i) => corners[Math.floor(i / 10)]?.(i) ?? [30000 + i, 30000];
          const points = Array.from({ length: 40 }, (_, i) => place(i));
          const names = points.map((_, i) => (i < 10 ? 0 : i < 20 ? (i < 16 ? 1 : 2) : i % 3 === 0 ? 3 : -1));
          return regionsOf(points.map(([x]) => x), points.map(([, y]) => y), names);
        }"""
    )
    assert [(region["place"], region["logos"]) for region in regions][:3] == [(0, 10), (3, 7), (1, 6)]
    assert 2 not in [region["place"] for region in regions]  # fewer than half there
    assert (regions[0]["x"], regions[0]["y"]) == (1045, 1000)


def test_many_points_keep_their_names(large_explorer: Explorer, large: Service) -> None:
    ids = [i for i in range(1001, 1017) if i in large.get("/stored").json()["stored"]]
    explored.name_logos(large, dict.fromkeys(ids, "one of many"))
    page = large_explorer.open()
    expect(page.locator(".map")).to_have_attribute("data-painted", str(explored.MANY))
    legend = page.get_by_role("group", name="Show only")
    expect(legend).to_contain_text(f"one of many{len(ids)}")
    expect(legend).to_contain_text(f"no name{explored.MANY - len(ids):,}")
    assert coarse(palette_on(page)[0]) in inks_on(page)
