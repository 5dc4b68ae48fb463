"""The explorer for everybody: keyboard, phone, dark, assistive technology, and nobody else listening."""

from __future__ import annotations

import gzip
import io
import re
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import FloatRect, Page, Route, ViewportSize, expect

from demo.photos import Photo
from tests.browser.explored import BEYOND_EXACT, Explorer, shown_on, tiles
from tests.photo_server import PhotoServer

PHONE: ViewportSize = {"width": 390, "height": 844}


def test_it_is_usable_with_the_keyboard_alone(explorer: Explorer) -> None:
    page = explorer.open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the logos")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_label("Logo id")).to_be_focused()
    page.keyboard.type("1003")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(tiles(page).first).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('tile')"):
            break
    expect(tiles(page).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(tiles(page).nth(1)).to_be_focused()
    wanted = shown_on(page)[1][0]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {wanted}")


def test_the_skip_link_leads_past_the_top_and_changes_nothing(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    page.evaluate("document.querySelector('.tile').dataset.kept = 'yes'")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    expect(page.locator(".tile[data-kept]")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_an_answer_that_comes_late_takes_the_focus_from_nobody(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    held: list[Route] = []
    page.route("**/api/v1/ann/1001?**", lambda route: held.append(route))
    page.get_by_label("Logo id").fill("1001")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.get_by_label("Logo id").focus()
    held[0].continue_()
    expect(tiles(page).first).to_be_visible()
    expect(page.get_by_label("Logo id")).to_be_focused()


def test_a_phone_need_not_scroll_sideways(explorer: Explorer) -> None:
    explorer.page.set_viewport_size(PHONE)
    for path in ("/", "/?logo=1003", "/?logo=1003&show=map", f"/?logo={BEYOND_EXACT}", "/?logo=7"):
        page = explorer.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


def test_a_phone_shows_neighbours_before_the_whole_photo(explorer: Explorer) -> None:
    explorer.page.set_viewport_size(PHONE)
    page = explorer.open("/?logo=1003")
    first, photo = tiles(page).first.bounding_box(), page.locator(".photo").bounding_box()
    assert first is not None
    assert photo is not None
    assert first["y"] < PHONE["height"] / 2 < photo["y"]


def test_dark_follows_the_system_until_one_chooses(explorer: Explorer) -> None:
    page = explorer.open()

    def is_dark() -> bool:
        colours = re.findall(r"[\d.]+", page.evaluate("getComputedStyle(document.body).backgroundColor"))
        return max(float(x) for x in colours[:3]) < 60

    assert not is_dark()
    page.emulate_media(color_scheme="dark")
    assert is_dark()
    page.get_by_role("button", name="Dark theme").click()
    assert not is_dark()
    page.reload()
    assert not is_dark()


def test_the_header_leaves_a_phone_its_screen(explorer: Explorer) -> None:
    explorer.page.set_viewport_size(PHONE)
    page = explorer.open("/?logo=1003")
    header = page.locator("header").bounding_box()
    assert header is not None
    assert header["height"] < PHONE["height"] / 8
    expect(page.get_by_role("link", name="API", exact=True)).to_be_hidden()
    menu = page.get_by_role("button", name="More")
    menu.press("Enter")
    expect(page.get_by_role("link", name="API", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="API", exact=True)).to_be_hidden()
    expect(menu).to_be_focused()


# Returns the focused element, where the middles of its ring's sides are, and the ring's colour; null without a ring.
RING = """() => {
  const focused = document.activeElement;
  const { outlineStyle, outlineWidth, outlineOffset, outlineColor } = getComputedStyle(focused);
  if (outlineStyle === "none" || focused.matches(".skip, .hidden")) return null;
  const out = parseFloat(outlineOffset) + parseFloat(outlineWidth) / 2;
  const { left, right, top, bottom } = focused.getBoundingClientRect();
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  const middles = [[left - out, y], [right + out, y], [x, top - out], [x, bottom + out]];
  const colour = outlineColor.match(/[0-9.]+/g).slice(0, 3).map(Number);
  return { name: focused.outerHTML.slice(0, 80), middles, colour };
}"""


@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
def test_the_ring_around_what_is_focused_is_seen_whole(explorer: Explorer, size: ViewportSize | None) -> None:
    page = explorer.page
    if size:
        page.set_viewport_size(size)
    page = explorer.open("/?logo=1003&count=12")
    expect(page.locator(".grid .fitted").first).to_be_visible()
    rings = 0
    for _ in range(32):
        page.keyboard.press("Tab")
        ring = page.evaluate(RING)
        if ring is None:
            continue
        with Image.open(io.BytesIO(page.screenshot())) as picture:
            seen = np.asarray(picture.convert("RGB"), int)
        for x, y in ring["middles"]:
            if 1 <= x < seen.shape[1] - 1 and 1 <= y < seen.shape[0] - 1:
                rings += 1
                around = seen[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].reshape(-1, 3)
                assert np.abs(around - ring["colour"]).max(axis=1).min() < 40, (ring["name"], x, y)
    assert rings > 60


def test_the_frame_of_a_box_at_the_edge_is_seen_whole(explorer: Explorer, drawn: list[Photo]) -> None:
    page = explorer.open()
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    mark, stage = page.locator(".mark"), page.locator(".stage")
    for _ in range(14):
        mark.press("ArrowLeft")
        mark.press("ArrowUp")
    expect(mark).to_have_attribute("aria-label", re.compile("Box from 0 to"))
    expect(stage).to_have_css("overflow", "visible")
    corner = stage.bounding_box()
    assert corner is not None
    clip: FloatRect = {"x": corner["x"] - 4, "y": corner["y"] - 4, "width": 3, "height": 60}
    page.locator("h1").click()
    with Image.open(io.BytesIO(page.screenshot(clip={**clip, "x": corner["x"] - 2, "width": 2}))) as picture:
        frame = np.asarray(picture.convert("RGB"))[20:50]
    with Image.open(io.BytesIO(page.screenshot(clip={**clip, "x": corner["x"] - 12}))) as picture:
        ground = np.asarray(picture.convert("RGB"))[20:50]
    assert np.abs(frame.mean(axis=(0, 1)) - ground.mean(axis=(0, 1))).max() > 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_anyone_out(
    explorer: Explorer, drawn: list[Photo], scheme: Literal["light", "dark"]
) -> None:
    page = explorer.page
    page.emulate_media(color_scheme=scheme)
    only = ["color-contrast"] if scheme == "dark" else None  # no other rule looks at colours
    for path in ("/", "/?logo=1001", "/?logo=1001&show=map", "/?logo=7"):
        explorer.open(path)
        _check_with_axe(page, only)
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    expect(tiles(page).first).to_be_visible()
    _check_with_axe(page, only)


@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_logos_are_named(
    named: Explorer, brands: dict[int, str], scheme: Literal["light", "dark"], size: ViewportSize | None
) -> None:
    page = named.page
    page.emulate_media(color_scheme=scheme)
    if size:
        page.set_viewport_size(size)
    query = next(iter(brands))
    only = ["color-contrast"] if scheme == "dark" else None  # no other rule looks at colours
    for path in ("/", f"/?logo={query}", f"/?value={brands[query]}", f"/?logo={query}&with=1005", "/?duplicates=1"):
        page = named.open(path)
        page.wait_for_load_state("networkidle")
        _check_with_axe(page, only)
    page = named.open("/?index=vectors")
    tiles(page).first.press("Space")
    expect(page.get_by_label("Name for the selected logos")).to_be_visible()
    page.get_by_label("Name for the selected logos").press_sequentially("o")
    expect(page.locator(".options:visible li").first).to_be_visible()
    _check_with_axe(page, only)
    page.get_by_label("Name for the selected logos").press("Escape")
    page.get_by_role("button", name="Name it", exact=True).click()
    expect(page.locator(".selection .told")).to_contain_text("named o")
    _check_with_axe(page, only)
    if size:
        page.get_by_role("button", name="More").click()
        _check_with_axe(page, only)


def _check_with_axe(page: Page, only: list[str] | None = None) -> None:
    found = Axe().run(page, options={"runOnly": only} if only else None)
    assert found.violations_count == 0, found.generate_report()


def test_nobody_else_is_asked_for_anything_but_pictures(explorer: Explorer, drawn_photos: PhotoServer) -> None:
    page = explorer.open("/?logo=1001")
    page.get_by_role("link", name="Map").click()
    expect(page.locator(".map")).to_be_visible()
    page.wait_for_load_state("networkidle")
    elsewhere = {(host, kind) for host, kind in explorer.hosts() if f"http://{host}" != explorer.base}
    assert elsewhere == {(drawn_photos.url("").removeprefix("http://"), "image")}
    assert drawn_photos.headers
    assert not any("Referer" in headers for headers in drawn_photos.headers[len(drawn_photos.headers) // 2 :])


def test_the_files_come_compressed(explorer: Explorer) -> None:
    script = explorer.page.request.get(f"{explorer.base}/explorer/style.css")
    assert script.headers["content-encoding"] == "gzip"
    assert len(gzip.compress(script.body())) < len(script.body()) / 2
