"""The explorer for everybody: keyboard, phone, dark, assistive technology, and nobody else listening."""

from __future__ import annotations

import gzip
import re
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, ViewportSize, expect

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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_anyone_out(
    explorer: Explorer, drawn: list[Photo], scheme: Literal["light", "dark"]
) -> None:
    page = explorer.page
    page.emulate_media(color_scheme=scheme)
    for path in ("/", "/?logo=1001", "/?logo=1001&show=map", "/?logo=7"):
        explorer.open(path)
        _check_with_axe(page)
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    expect(tiles(page).first).to_be_visible()
    _check_with_axe(page)


def _check_with_axe(page: Page) -> None:
    found = Axe().run(page)
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
